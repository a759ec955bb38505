package api

import (
	"net/http"
	"slices"

	"github.com/seepnode/seepnode/node/api/client"
)

func (s *server) queryScale(_ http.ResponseWriter, r *http.Request) (any, error) {
	return about(r, s.backend.QueryScale)
}

func (s *server) scaleQuery(_ http.ResponseWriter, r *http.Request) (any, error) {
	name, id, err := s.changed(r, "query")
	if err != nil {
		return nil, err
	}
	var scale client.ScaleRequest
	if err := s.read(r, &scale, false); err != nil {
		return nil, err
	}
	switch {
	case len(scale.Stages) == 0 && scale.Min == 0 && scale.Max == 0:
		return nil, withHint(Invalid("no stages are named, and no limits"), "give stages: a list of {stage, partitions}; stage \"*\" is all of them")
	case len(scale.Stages) > client.MaxScaleStages:
		return nil, Invalid("%d stages are named, more than %d", len(scale.Stages), client.MaxScaleStages)
	case scale.Min < 0 || scale.Max < 0 || scale.Max > 0 && scale.Min > scale.Max:
		return nil, Invalid("limits of %d to %d partitions make no sense", scale.Min, scale.Max)
	}
	automatic := func(st client.ScaleStage) bool { return st.Partitions == 0 }
	if len(scale.Stages) > 0 && (scale.Min > 0 || scale.Max > 0) && !slices.ContainsFunc(scale.Stages, automatic) {
		return nil, withHint(Invalid("min and max are of stages that are automatic, and all that are named are fixed"), "leave them out, or name a stage with 0 partitions, which is automatic")
	}
	for _, st := range scale.Stages {
		if st.Stage == "" || len(st.Stage) > client.MaxScaleName || st.Partitions < 0 || st.Partitions > client.MaxPartitions {
			return nil, Invalid("%d partitions of stage %s make no sense", st.Partitions, short(st.Stage))
		}
	}
	return answer(s.backend.ScaleQuery(r.Context(), id, name, scale))
}

// changed is the name in the path of a request that changes something, and its id.
func (s *server) changed(r *http.Request, what string) (string, client.RequestID, error) {
	name, err := named(r, what)
	if err != nil {
		return "", client.RequestID{}, err
	}
	if err := noParams(r); err != nil {
		return "", client.RequestID{}, err
	}
	id, err := requestID(r)
	return name, id, err
}

func (s *server) drainNode(drain bool) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		name, id, err := s.changed(r, "node")
		if err != nil {
			return nil, err
		}
		if err := s.read(r, &struct{}{}, true); err != nil {
			return nil, err
		}
		return answer(s.backend.DrainNode(r.Context(), id, name, drain))
	}
}

func (s *server) autoscale(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	return answer(s.backend.Autoscale(r.Context()))
}

func (s *server) pauseAutoscale(pause bool) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if err := noParams(r); err != nil {
			return nil, err
		}
		if err := s.read(r, &struct{}{}, true); err != nil {
			return nil, err
		}
		id, err := requestID(r)
		if err != nil {
			return nil, err
		}
		return answer(s.backend.PauseAutoscale(r.Context(), id, pause))
	}
}

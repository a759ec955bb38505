package api

import (
	_ "embed" // openapi.yaml
	"errors"
	"math"
	"net/http"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

//go:embed openapi.yaml
var openAPI []byte

func (s *server) tables(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	all, err := s.backend.Tables(r.Context())
	return &client.TableList{Tables: all}, err
}

func (s *server) readTable(_ http.ResponseWriter, r *http.Request) (any, error) {
	read, err := tableRequest(r)
	if err != nil {
		return nil, err
	}
	return answer(s.backend.ReadTable(r.Context(), read))
}

// tableRequest reads what to read of a table.
func tableRequest(r *http.Request) (client.TableReadRequest, error) {
	read := client.TableReadRequest{Query: r.PathValue("query"), Table: r.PathValue("table")}
	if err := checkName("query", read.Query); err != nil {
		return read, err
	}
	if err := checkName("table", read.Table); err != nil {
		return read, err
	}
	p := paramsOf(r)
	read.Key = p.texts("key", client.MaxKeyColumns)
	read.Where, read.OrderBy, read.Desc = p.text("where"), p.text("order_by"), p.flag("desc")
	read.Limit = int(p.number("limit", 1, client.MaxTableRows))
	read.Epoch = topology.Epoch(p.number("epoch", 1, math.MaxInt64))
	read.MinEpoch = topology.Epoch(p.number("min_epoch", 1, math.MaxInt64))
	if err := p.done(); err != nil {
		return read, err
	}
	switch {
	case len(read.Key) > 0 && (read.Where != "" || read.OrderBy != "" || read.Desc):
		return read, withHint(Invalid("key is given with where, order_by or desc"), "a read by key gives one row: leave the others out")
	case read.Desc && read.OrderBy == "":
		return read, Invalid("desc is given without order_by")
	case read.Epoch != 0 && read.MinEpoch > read.Epoch:
		return read, Invalid("epoch %d is before min_epoch %d", read.Epoch, read.MinEpoch)
	}
	if read.Limit == 0 {
		read.Limit = client.DefaultTableRows
	}
	return read, nil
}

func (s *server) nodes(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	all, err := s.backend.Nodes(r.Context())
	return &client.NodeList{Nodes: all}, err
}

func (s *server) node(_ http.ResponseWriter, r *http.Request) (any, error) {
	name, err := named(r, "node")
	if err != nil {
		return nil, err
	}
	if err := noParams(r); err != nil {
		return nil, err
	}
	return answer(s.backend.Node(r.Context(), name))
}

func (s *server) status(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	return answer(s.backend.Status(r.Context()))
}

func (s *server) raftPeers(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	return answer(s.backend.RaftPeers(r.Context()))
}

func (s *server) transferRaft(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	id, err := requestID(r)
	if err != nil {
		return nil, err
	}
	var t client.TransferRequest
	if err := s.read(r, &t, true); err != nil {
		return nil, err
	}
	if t.To != "" {
		if err := checkName("node", t.To); err != nil {
			return nil, err
		}
	}
	leader, err := s.backend.TransferRaft(r.Context(), id, t.To)
	return &client.Transferred{Leader: leader}, err
}

func (s *server) openAPI(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(openAPI) // an error is the client's going away
	return nil, nil
}

// healthz says that the process is up; who asks needs no token.
func (s *server) healthz(http.ResponseWriter, *http.Request) (any, error) {
	return &client.Health{OK: true}, nil
}

func (s *server) readyz(_ http.ResponseWriter, r *http.Request) (any, error) {
	err := s.backend.Ready(r.Context())
	if err == nil {
		return &client.Health{OK: true}, nil
	}
	var e *client.Error
	if !errors.As(err, &e) {
		e = Unavailable("%v", err)
	}
	return nil, e
}

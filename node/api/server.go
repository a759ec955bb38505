package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"path"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seepnode/seepnode/node/api/client"
)

// Config is what a server is made of.
type Config struct {
	Backend Backend
	// Token must come with every request but /healthz; "" asks for none, which is for the loopback only: the server then refuses names of
	// hosts that only the outside uses.
	Token string
	// Logger gets internal errors; nil: they are lost.
	Logger *slog.Logger
	// MaxBody is the most bytes of a request's body; 0: client.MaxBodyBytes.
	MaxBody int64
	// Registry holds the metrics of /metrics; nil: there is no /metrics.
	Registry *prometheus.Registry
}

type server struct {
	backend Backend
	token   [sha256.Size]byte
	open    bool // no token
	log     *slog.Logger
	maxBody int64
	mux     *http.ServeMux
	cross   *http.CrossOriginProtection
}

// handler answers a request: with a value as JSON (200), with an error, or by itself (nil, nil).
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// route is one line of the API; openapi.yaml has the same ones.
type route struct {
	pattern string // as http.ServeMux's
	handle  handler
}

// New makes the API's handler. It starts nothing and needs no closing.
func New(c Config) http.Handler {
	s := &server{
		backend: c.Backend, open: c.Token == "", token: sha256.Sum256([]byte(c.Token)), log: c.Logger, maxBody: c.MaxBody,
		mux: http.NewServeMux(), cross: http.NewCrossOriginProtection(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.maxBody <= 0 {
		s.maxBody = client.MaxBodyBytes
	}
	for _, r := range s.routes() {
		s.mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) {
			switch v, err := r.handle(w, req); {
			case err != nil:
				s.fail(w, req, err)
			case v != nil:
				s.write(w, req, http.StatusOK, v)
			}
		})
	}
	if c.Registry != nil {
		s.mux.Handle("GET /metrics", promhttp.HandlerFor(c.Registry, promhttp.HandlerOpts{
			ErrorHandling: promhttp.ContinueOnError, ErrorLog: slogErrors{s.log},
		}))
	}
	s.mux.HandleFunc("GET /debug/pprof/", s.guardProfiles(pprof.Index))
	s.mux.HandleFunc("GET /debug/pprof/cmdline", s.guardProfiles(pprof.Cmdline))
	s.mux.HandleFunc("GET /debug/pprof/profile", s.guardProfiles(pprof.Profile))
	s.mux.HandleFunc("GET /debug/pprof/symbol", s.guardProfiles(pprof.Symbol))
	s.mux.HandleFunc("POST /debug/pprof/symbol", s.guardProfiles(pprof.Symbol))
	s.mux.HandleFunc("GET /debug/pprof/trace", s.guardProfiles(pprof.Trace))
	return s
}

// routes are the API's own; /metrics and /debug/pprof/ are others' handlers.
func (s *server) routes() []route {
	return []route{
		{"GET /v1/queries", s.queries},
		{"POST /v1/queries", s.addQuery},
		{"GET /v1/queries/{name}", s.query},
		{"DELETE /v1/queries/{name}", s.removeQuery},
		{"GET /v1/queries/{name}/plan", s.plan},
		{"GET /v1/queries/{name}/topology", s.topology},
		{"GET /v1/queries/{name}/history", s.history},
		{"GET /v1/queries/{name}/checkpoints", s.checkpoints},
		{"GET /v1/queries/{name}/tail", s.tail},
		{"POST /v1/queries/{name}/pause", s.pauseQuery},
		{"POST /v1/queries/{name}/resume", s.resumeQuery},
		{"GET /v1/queries/{name}/scale", s.queryScale},
		{"POST /v1/queries/{name}/scale", s.scaleQuery},
		{"POST /v1/queries/{name}/recover", s.recoverQuery},
		{"POST /v1/queries/{name}/verify", s.verifyQuery},
		{"GET /v1/tables", s.tables},
		{"GET /v1/tables/{query}/{table}", s.readTable},
		{"GET /v1/nodes", s.nodes},
		{"GET /v1/nodes/{name}", s.node},
		{"POST /v1/nodes/{name}/drain", s.drainNode(true)},
		{"POST /v1/nodes/{name}/undrain", s.drainNode(false)},
		{"GET /v1/autoscale", s.autoscale},
		{"POST /v1/autoscale/pause", s.pauseAutoscale(true)},
		{"POST /v1/autoscale/resume", s.pauseAutoscale(false)},
		{"GET /v1/status", s.status},
		{"POST /v1/validate", s.validate},
		{"GET /v1/raft/peers", s.raftPeers},
		{"POST /v1/raft/transfer", s.transferRaft},
		{"GET /v1/openapi.yaml", s.openAPI},
		{"GET /healthz", s.healthz},
		{"GET /readyz", s.readyz},
	}
}

// ServeHTTP checks who asks and hands on.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent := &tracked{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			s.panicked(sent, r, p)
		}
	}()
	if err := s.admit(r); err != nil {
		s.fail(sent, r, err)
		return
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(sent, r.Body, s.maxBody)
	}
	h, pattern := s.mux.Handler(r)
	switch {
	case !clean(r.URL.EscapedPath()):
		s.unknown(sent, r, http.NotFoundHandler()) // the mux would redirect, which few programs follow with a body
		return
	case pattern == "":
		s.unknown(sent, r, h)
		return
	}
	s.mux.ServeHTTP(sent, r)
}

// panicked answers a request whose handler panicked.
func (s *server) panicked(w *tracked, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	id := logID()
	s.log.Error("panic in a request", "id", id, "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler) // the client must not take what it got for an answer
	}
	e := failure(http.StatusInternalServerError, "internal error: this is a bug in seepnode", nil)
	e.ID = id
	s.fail(w, r, e)
}

// admit refuses who has no token, and web pages of others.
func (s *server) admit(r *http.Request) error {
	if r.URL.Path == "/healthz" {
		return nil
	}
	if !s.open {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		switch {
		case r.Header.Get("Authorization") == "":
			return withHint(Unauthorized("this cluster asks for a token"), "set SEEPNODE_TOKEN or --token-file, or send \"Authorization: Bearer TOKEN\"")
		case !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], s.token[:]) != 1:
			return withHint(Unauthorized("the token is not this cluster's"), "it is the one that the agents were given with --token-file")
		}
		return nil
	}
	if err := s.cross.Check(r); err != nil {
		return Forbidden("a web page of another site asks for this: %v", err)
	}
	if host := r.Host; !localHost(host) {
		return withHint(Forbidden("host %s is not a name of this listener, which has no token", short(host)),
			"use 127.0.0.1 or localhost, or give the agents a token (--token-file)")
	}
	return nil
}

// localHost says whether a Host header may be that of a listener without a token. A name with a dot may be one that an attacker's name
// server points here, to have a browser on this machine ask for it; an address or a bare name cannot.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return net.ParseIP(host) != nil || !strings.Contains(strings.TrimSuffix(host, "."), ".")
}

// clean says whether a path begins with a slash and has no empty and no dotted elements.
func clean(p string) bool {
	if !strings.HasPrefix(p, "/") {
		return false
	}
	return p == path.Clean(p) || strings.HasSuffix(p, "/") && p == path.Clean(p)+"/"
}

// unknown answers a path or method that there is none of; h is what http.ServeMux would do.
func (s *server) unknown(w http.ResponseWriter, r *http.Request, h http.Handler) {
	probe := &probe{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		s.fail(w, r, failure(http.StatusMethodNotAllowed, "%s does not take %s, only %s", []any{short(r.URL.Path), short(r.Method), allow}))
		return
	}
	hint := "GET /v1/openapi.yaml lists all paths"
	if trimmed := strings.TrimRight(r.URL.Path, "/"); trimmed != r.URL.Path && trimmed != "" {
		hint = "paths do not end in a slash; " + hint
	}
	s.fail(w, r, withHint(NotFound("there is no path %s", short(r.URL.Path)), hint))
}

// guardProfiles hands out profiles only where a token was asked for: they show what queries work on.
func (s *server) guardProfiles(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.open {
			s.fail(w, r, withHint(Forbidden("profiles need a token"), "start the agent with --token-file"))
			return
		}
		h(w, r)
	}
}

// tracked knows whether an answer has begun.
type tracked struct {
	http.ResponseWriter
	begun bool
}

func (t *tracked) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracked) Write(b []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// probe takes an answer for its status and header.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// slogErrors writes what promhttp complains of.
type slogErrors struct{ log *slog.Logger }

func (l slogErrors) Println(v ...any) {
	var errs []any
	for _, x := range v {
		errs = append(errs, "error", x)
	}
	l.log.Error("metrics", errs...)
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// headerWait bounds the reading of a request's header, headerBytesMax its size.
	headerWait     = 10 * time.Second
	headerBytesMax = 64 << 10
	// idleWait is how long a connection may stay open for the next request.
	idleWait = time.Minute
)

// webServer serves HTTP on one listener and ends with all its connections.
type webServer struct {
	server *http.Server
	done   sync.WaitGroup // the server's loop and all handlers under way

	mu     sync.Mutex
	closed bool
}

// serveHTTP serves handler on l, which is the server's from then on. Requests' contexts end with ctx. failed is told when it can
// serve no more.
func serveHTTP(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger, failed func(error)) *webServer {
	s := &webServer{}
	s.server = &http.Server{
		Handler: s.counted(handler), ReadHeaderTimeout: headerWait, MaxHeaderBytes: headerBytesMax, IdleTimeout: idleWait,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), BaseContext: func(net.Listener) context.Context { return ctx },
	}
	s.done.Go(func() {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			failed(fmt.Errorf("serving HTTP on %s: %w", l.Addr(), err))
		}
	})
	return s
}

// counted lets close wait for handlers, which the library does not.
func (s *webServer) counted(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return
		}
		s.done.Add(1)
		s.mu.Unlock()
		defer s.done.Done()
		handler.ServeHTTP(w, r)
	})
}

// close ends all connections at once and waits for their handlers.
func (s *webServer) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.server.Close()
	s.done.Wait()
	return err
}

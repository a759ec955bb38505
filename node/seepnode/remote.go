package seepnode

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/agent"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/query/ast"
)

// addressEnv is where the cluster's address may stand.
const addressEnv = "SEEPNODE_ADDR"

// authoritiesEnv may name the file of the authorities; an agent's setting has the same name.
const authoritiesEnv = "SEEPNODE_TLS_CA"

// remoteFlags are those of every command that talks to a cluster.
func remoteFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "address", Usage: "`HOST:PORT` of an agent's HTTP API, or several with commas [$" + addressEnv + "]", DefaultText: client.DefaultAddress},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the cluster's token [or the token in $" + tokenEnv + "]"},
		&cli.StringFlag{Name: "tls-ca", Usage: "`FILE` with the authorities that an agent's certificate is of: addresses beyond the loopback are then https [$" + authoritiesEnv + "]"},
		&cli.BoolFlag{Name: "json", Usage: "the API's answer as it came"},
	)
}

// remote is a command that talks to a cluster.
type remote struct {
	*client.Client
	app     *app
	address string // as it was given
	json    bool
	answers *recorder
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

// dialTimeout bounds how long one address may take to connect.
const dialTimeout = 3 * time.Second

// errNoAgent is the cause of a remote's context when nothing listens at any of its addresses.
var errNoAgent = errors.New("no agent")

// withRemote makes an action of a function that talks to a cluster.
func (a *app) withRemote(do func(r *remote, c *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		r, err := a.dial(c)
		if err != nil {
			return err
		}
		defer r.close()
		return r.explain(do(r, c))
	}
}

// dial makes the client; it connects with the first request.
func (a *app) dial(c *cli.Context) (*remote, error) {
	r := &remote{app: a, address: c.String("address"), json: c.Bool("json")}
	if r.address == "" {
		r.address = os.Getenv(addressEnv)
	}
	if r.address == "" {
		r.address = client.DefaultAddress
	}
	token := strings.TrimSpace(os.Getenv(tokenEnv))
	if file := c.String("token-file"); file != "" {
		var err error
		if token, err = readSecret(file); err != nil {
			return nil, usagef("--token-file %s: %v", file, err)
		}
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	wire := http.DefaultTransport.(*http.Transport).Clone()
	wire.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	if err := r.trust(wire, c.String("tls-ca")); err != nil {
		return nil, err
	}
	r.answers = &recorder{wire: wire, cancel: r.cancel, addresses: strings.Count(r.address, ",") + 1, refused: map[string]bool{}}
	var err error
	r.Client, err = client.New(client.Config{Address: r.address, Token: token, HTTPClient: &http.Client{
		Transport: r.answers,
		// A token is for the agent that was named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		return nil, usagef("%v", err)
	}
	return r, nil
}

// trust speaks TLS where authorities are named, but not on the loopback, where agents do not either, and not where the address has a scheme
// of its own.
func (r *remote) trust(wire *http.Transport, file string) error {
	if file == "" {
		file = os.Getenv(authoritiesEnv)
	}
	if file == "" {
		return nil
	}
	authorities, err := port.ReadAuthorities(file)
	if err != nil {
		return usagef("--tls-ca %s: %v", file, err)
	}
	wire.TLSClientConfig = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	list := strings.Split(r.address, ",")
	for i, address := range list {
		if address = strings.TrimSpace(address); !strings.Contains(address, "://") && !isLoopback(address) {
			list[i] = "https://" + address
		}
	}
	r.address = strings.Join(list, ",")
	return nil
}

func isLoopback(address string) bool {
	c := agent.Config{HTTP: address}
	return c.HTTPIsLoopback()
}

func (r *remote) close() {
	r.cancel(nil)
	r.Client.Close()
}

// recorder keeps the last answer as it came, and ends the command as soon as nothing listens at any address: the client's own
// patience is for agents that are being restarted, not for those that were never started.
type recorder struct {
	wire      http.RoundTripper
	cancel    context.CancelCauseFunc
	addresses int

	mu       sync.Mutex
	answered bool
	refused  map[string]bool // by address
	body     bytes.Buffer    // of the last answer
}

// CloseIdleConnections is what a client's Close reaches.
func (t *recorder) CloseIdleConnections() {
	if wire, ok := t.wire.(interface{ CloseIdleConnections() }); ok {
		wire.CloseIdleConnections()
	}
}

func (t *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := t.wire.RoundTrip(request)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			t.refused[request.URL.Host] = true
		}
		if !t.answered && len(t.refused) >= t.addresses {
			t.cancel(errNoAgent)
		}
		return nil, err
	}
	t.answered = true
	t.body.Reset()
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") {
		answer.Body = &recorded{answer.Body, t}
	}
	return answer, nil
}

// recorded copies a body while it is read.
type recorded struct {
	io.ReadCloser
	to *recorder
}

func (b *recorded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.to.mu.Lock()
	defer b.to.mu.Unlock()
	b.to.body.Write(p[:n])
	return n, err
}

// printJSON writes the last answer, byte for byte and with a line's end.
func (r *remote) printJSON() error {
	r.answers.mu.Lock()
	defer r.answers.mu.Unlock()
	_, err := r.app.streams.Out.Write(append(bytes.TrimRight(r.answers.body.Bytes(), "\n"), '\n'))
	return err
}

// explain makes an error say what a person can do. With --json the API's own error goes to standard output as well.
func (r *remote) explain(err error) error {
	if err == nil {
		return nil
	}
	var usage *usageError
	var query *queryError
	var told reported
	var answer *client.Error
	switch {
	case errors.As(err, &usage), errors.As(err, &told):
		return err
	case errors.Is(context.Cause(r.ctx), errNoAgent):
		return fmt.Errorf("no agent at %s; start one with `seepnode agent` or give --address", r.address)
	case !errors.As(err, &answer):
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			return fmt.Errorf("%w\nhint: give the cluster's authorities with --tls-ca FILE or %s", err, authoritiesEnv)
		}
		return err
	}
	if r.json {
		if err := r.printJSON(); err != nil {
			return err
		}
	}
	if errors.As(err, &query) {
		return err
	}
	if client.IsUnauthorized(answer) {
		return fmt.Errorf("%s refuses the request: %s; give the cluster's token with --token-file FILE or %s", r.address, answer.Message, tokenEnv)
	}
	text := answer.Message
	if answer.ID != "" {
		text += fmt.Sprintf(" (id %s in the log of the node that answered)", answer.ID)
	}
	if answer.Hint != "" {
		text += "\nhint: " + answer.Hint
	}
	return errors.New(text)
}

// mistake makes an error at a place in a query's text look like one that was found here.
func mistake(name, src string, err error) error {
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Line < 1 && !strings.HasPrefix(answer.Message, "--set ") {
		return err
	}
	text := &ast.Error{Pos: ast.Pos{Line: answer.Line, Column: answer.Column}, Msg: answer.Message, Hint: answer.Hint}
	return errors.Join(&queryError{name, src, text}, answer)
}

// words checks how many arguments a command has; names are what they are, the last "NAME..." for one or more, "[NAME]" for none or one.
func words(c *cli.Context, names ...string) ([]string, error) {
	args := c.Args().Slice()
	least, most := 0, len(names)
	for _, n := range names {
		if n[0] != '[' {
			least++
		}
		if strings.HasSuffix(n, "...") {
			most = int(^uint(0) >> 1)
		}
	}
	switch {
	case len(args) < least:
		return nil, usagef("%s needs %s", c.Command.HelpName, strings.Join(names, " "))
	case len(args) > most && most == 0:
		return nil, usagef("%s takes no arguments, and %q is one", c.Command.HelpName, args[0])
	case len(args) > most:
		return nil, usagef("%s takes %s, and %q is one more", c.Command.HelpName, strings.Join(names, " "), args[most])
	}
	for i, a := range args {
		if a == "" && !strings.HasSuffix(names[min(i, len(names)-1)], "...") {
			return nil, usagef("%s: %s is empty", c.Command.HelpName, strings.Trim(names[i], "[]"))
		}
	}
	return args, nil
}

package port

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// CredentialFiles are in PEM.
type CredentialFiles struct {
	Cert string // this node's certificate, and those between it and the authority's
	Key  string // of Cert
	CA   string // authorities: who has a certificate of one is a node of the cluster
}

// Credentials are a node's certificate and the authorities that it trusts. When the files change, what begins from then on uses the new ones.
type Credentials struct {
	files CredentialFiles
	log   *slog.Logger

	mu     sync.Mutex
	stamps [3]time.Time // of the files that are in use
	now    *credentials
	// Files that cannot be used are tried again: another may be on its way, or the time from which a certificate is good.
	refused [3]time.Time
	tried   time.Time
}

type credentials struct {
	own         tls.Certificate
	authorities *x509.CertPool
}

// OpenCredentials reads the files.
func OpenCredentials(files CredentialFiles, log *slog.Logger) (*Credentials, error) {
	c := &Credentials{files: files, log: log}
	stamps, err := files.stamps()
	if err != nil {
		return nil, err
	}
	if c.now, err = files.read(); err != nil {
		return nil, err
	}
	c.stamps = stamps
	return c, nil
}

func (f CredentialFiles) stamps() (stamps [3]time.Time, err error) {
	for i, name := range []string{f.Cert, f.Key, f.CA} {
		info, err := os.Stat(name)
		if err != nil {
			return stamps, err
		}
		stamps[i] = info.ModTime()
	}
	return stamps, nil
}

func (f CredentialFiles) read() (*credentials, error) {
	own, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("the certificate in %s with the key in %s: %w", f.Cert, f.Key, err)
	}
	authorities, err := ReadAuthorities(f.CA)
	if err != nil {
		return nil, err
	}
	if err := verify(authorities, own.Leaf, own.Certificate[1:]); err != nil {
		return nil, fmt.Errorf("the certificate in %s is none that %s vouches for: %w", f.Cert, f.CA, err)
	}
	return &credentials{own, authorities}, nil
}

// ReadAuthorities reads certificates in PEM.
func ReadAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}

// verify says whether one of the authorities vouches for a certificate. Names in it do not count: nodes have changing addresses.
func verify(authorities *x509.CertPool, leaf *x509.Certificate, between [][]byte) error {
	o := x509.VerifyOptions{Roots: authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, der := range between {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		o.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(o)
	return err
}

// tryEvery is how often files that cannot be used are read again.
const tryEvery = time.Second

// current gives what the files hold, or held as long as new ones cannot be used.
func (c *Credentials) current() *credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamps, err := c.files.stamps()
	if err == nil && stamps == c.stamps || time.Since(c.tried) < tryEvery {
		return c.now
	}
	c.tried = time.Now()
	var fresh *credentials
	if err == nil {
		fresh, err = c.files.read()
	}
	if err != nil {
		if stamps != c.refused {
			c.log.Error("the TLS files have changed and cannot be used: going on with those read before", "error", err)
		}
		c.refused = stamps
		return c.now
	}
	c.stamps, c.tried = stamps, time.Time{}
	c.log.Info("the TLS files have changed: new connections use them", "certificate", c.files.Cert, "valid_until", fresh.own.Leaf.NotAfter)
	c.now = fresh
	return c.now
}

var errNoCertificate = errors.New("the other end has no certificate")

// peer is the configuration of one connection between nodes, the same at both ends: each shows a certificate of an authority that the
// other trusts.
func (c *Credentials) peer() *tls.Config {
	now := c.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{now.own}, ClientAuth: tls.RequireAnyClientCert,
		// The library would compare names, and see nothing of what is below without this.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errNoCertificate
			}
			var between [][]byte
			for _, b := range s.PeerCertificates[1:] {
				between = append(between, b.Raw)
			}
			return verify(now.authorities, s.PeerCertificates[0], between)
		},
	}
}

// HTTPS is the configuration of an HTTP server: it shows the node's certificate and asks for none.
func (c *Credentials) HTTPS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &c.current().own, nil
	}}
}

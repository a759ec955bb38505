package porttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/agent/port"
)

// Authority vouches for nodes.
type Authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// New makes an authority.
func New(t *testing.T) *Authority {
	t.Helper()
	a := &Authority{t: t}
	var der []byte
	a.key = newKey(t)
	template := certificate("authority")
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = filepath.Join(t.TempDir(), "ca.pem")
	write(t, a.file, "CERTIFICATE", der)
	return a
}

// Files are those of a node, for the host names and IP addresses given.
func (a *Authority) Files(hosts ...string) port.CredentialFiles {
	a.t.Helper()
	f := port.CredentialFiles{Cert: filepath.Join(a.t.TempDir(), "cert.pem"), CA: a.file}
	f.Key = filepath.Join(filepath.Dir(f.Cert), "key.pem")
	a.Renew(f, time.Time{}, hosts...)
	return f
}

// Renew writes another certificate and key into a node's files; until is when it ends, the zero time in a hundred years.
func (a *Authority) Renew(f port.CredentialFiles, until time.Time, hosts ...string) {
	a.t.Helper()
	template := certificate("node")
	if !until.IsZero() {
		template.NotAfter = until
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	write(a.t, f.Cert, "CERTIFICATE", der)
	write(a.t, f.Key, "PRIVATE KEY", private)
}

// certificate is valid in a bubble's time, which begins in 2000, too.
func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Package porttest makes certificates for tests of connections with TLS.
package porttest

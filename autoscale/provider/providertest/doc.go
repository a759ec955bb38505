// Package providertest is the conformance suite of providers.
package providertest

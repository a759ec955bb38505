package provider

import (
	"fmt"
	"slices"
	"strings"
)

// Options are a provider's settings, as KEY=VALUE. Taking one marks it as known.
type Options struct {
	provider string
	values   map[string]string
	known    []string
	err      error
}

// NewOptions makes options of a provider.
func NewOptions(provider string, values map[string]string) *Options {
	return &Options{provider: provider, values: values}
}

// Text is an option's value, or the one it has when it is not given.
func (o *Options) Text(key, standard string) string {
	o.known = append(o.known, key)
	if v, ok := o.values[key]; ok {
		return v
	}
	return standard
}

// Need is an option that must be given.
func (o *Options) Need(key, what string) string {
	v := o.Text(key, "")
	if v == "" && o.err == nil {
		o.err = fmt.Errorf("provider %s needs --provider-option %s=%s", o.provider, key, what)
	}
	return v
}

// OneOf is an option with a few values.
func (o *Options) OneOf(key, standard string, values ...string) string {
	v := o.Text(key, standard)
	if !slices.Contains(values, v) && o.err == nil {
		o.err = fmt.Errorf("provider %s: option %s=%q must be one of %s", o.provider, key, v, strings.Join(values, ", "))
	}
	return v
}

// Err says what is missing, wrong or not known.
func (o *Options) Err() error {
	if o.err != nil {
		return o.err
	}
	var unknown []string
	for key := range o.values {
		if !slices.Contains(o.known, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	slices.Sort(o.known)
	return fmt.Errorf("provider %s has no option %s; it has %s", o.provider, strings.Join(unknown, ", "), strings.Join(o.known, ", "))
}

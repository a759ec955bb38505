package seepnode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/seepnode/seepnode/node/query/spelling"
)

// Limits of a configuration file. Those of lines and brackets bound how deep it nests: the parser's time grows with the square of it.
const (
	configBytesMax    = 64 << 10
	configLineMax     = 4096
	configBracketsMax = 512
)

// readYAML reads a configuration file: one mapping from the settings' names to values.
func readYAML(path string) (map[string]given, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("reading the configuration: %v", err)
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, configBytesMax+1))
	if err != nil {
		return nil, usagef("reading the configuration: %v", err)
	}
	if len(data) > configBytesMax {
		return nil, usagef("%s has more than %d bytes: it is no configuration", path, configBytesMax)
	}
	return parseYAML(path, data)
}

func parseYAML(path string, data []byte) (_ map[string]given, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser is not ours
			err = usagef("%s is no YAML that can be read: %v", path, r)
		}
	}()
	for i, line := range bytes.Split(data, []byte("\n")) {
		if len(line) > configLineMax {
			return nil, usagef("%s:%d: the line has more than %d bytes: break it up", path, i+1, configLineMax)
		}
	}
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > configBracketsMax {
		return nil, usagef("%s has more than %d brackets: it is no configuration", path, configBracketsMax)
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			return nil, usagef("%s:%d: %s", path, at.GetToken().Position.Line, at.GetMessage())
		}
		return nil, usagef("%s: %v", path, err)
	}
	settings := map[string]given{}
	for n, doc := range file.Docs {
		if n > 0 && doc.Body != nil {
			return nil, usagef("%s:%d: it holds several documents; give one", path, line(doc))
		}
		if err := readMapping(path, doc.Body, settings); err != nil {
			return nil, err
		}
	}
	return settings, nil
}

func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// entries are the pairs of a mapping; nothing and comments are an empty one.
func entries(n ast.Node) (pairs []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return nil, true
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func readMapping(path string, body ast.Node, settings map[string]given) error {
	pairs, ok := entries(body)
	if !ok {
		return usagef("%s:%d: it must be lines of \"name: value\", like \"data-port: 7602\"", path, line(body))
	}
	for _, pair := range pairs {
		place := fmt.Sprintf("%s:%d: ", path, line(pair.Key))
		key, ok := scalar(pair.Key)
		if !ok {
			return usagef("%sthis is no name of a setting", place)
		}
		t := findSetting(key)
		if t == nil {
			return unknownSetting(place, key)
		}
		if before, twice := settings[key]; twice {
			return usagef("%s%s was given already, at %s", place, key, strings.TrimSuffix(before.from, ": "+key))
		}
		values, err := t.read(pair.Value)
		if err != nil {
			return usagef("%s%s: %v", place, key, err)
		}
		if len(values) > 0 {
			settings[key] = given{values, place + key}
		}
	}
	return nil
}

func unknownSetting(place, key string) error {
	names := settingNames()
	if dashed := strings.ToLower(strings.ReplaceAll(key, "_", "-")); findSetting(dashed) != nil {
		return usagef("%sunknown key %q; did you mean %q?", place, key, dashed)
	}
	if best := spelling.Nearest(key, names); best != "" {
		return usagef("%sunknown key %q; did you mean %q?", place, key, best)
	}
	return usagef("%sunknown key %q; there are: %s", place, key, strings.Join(names, ", "))
}

// scalar is a node's text: a number or "on" as it was written.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// read gives a setting's values; none for null.
func (s *setting) read(n ast.Node) ([]string, error) {
	if _, null := n.(*ast.NullNode); null || n == nil {
		return nil, nil
	}
	if v, ok := scalar(n); ok && !s.pairs {
		return []string{v}, nil
	}
	switch {
	case s.pairs:
		pairs, ok := entries(n)
		if !ok {
			return nil, errors.New("it must be a mapping, like {zone: a}")
		}
		var values []string
		for _, p := range pairs {
			key, ok := scalar(p.Key)
			value, plain := scalar(p.Value)
			if !ok || !plain || strings.Contains(key, "=") {
				return nil, errors.New("it must be a mapping from words to words, like {zone: a}")
			}
			values = append(values, key+"="+value)
		}
		return values, nil
	case s.many:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			return nil, errors.New("it must be a value or a list of values")
		}
		var values []string
		for _, e := range list.Values {
			v, ok := scalar(e)
			if !ok {
				return nil, errors.New("it must be a value or a list of values")
			}
			values = append(values, v)
		}
		return values, nil
	}
	return nil, errors.New("it must be one value")
}

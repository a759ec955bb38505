package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var _ = builtin(
	FunctionDef{Name: "JSON_VALUE", Takes: "STRING, STRING", Result: batch.TypeString, MayBeNull: true, MayFail: true, Build: jsonValue},
	FunctionDef{Name: "JSON_EXISTS", Takes: "STRING, STRING", Result: batch.TypeBoolean, MayBeNull: true, MayFail: true, Build: jsonExists},
	FunctionDef{Name: "IS_JSON", Takes: "STRING", Result: batch.TypeBoolean, Kernel: func(x *Call, out *batch.Column, n int) {
		for i := range n {
			out.Bools[i] = !out.IsNull(i) && json.Valid(x.Args[0].Text(i))
		}
	}},
)

// jsonStep is .name or [index] of a path.
type jsonStep struct {
	name  string
	index int
	array bool
}

// compilePath reads $.a['b c'][0], after "lax" or "strict", which make no difference here. Wildcards and filters are not supported.
func compilePath(text string) ([]jsonStep, error) {
	s := strings.TrimSpace(text)
	s = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(s, "lax "), "strict "))
	bad := fmt.Errorf("%q is not a supported JSON path; write $.name, $['name'] and $.list[0]", text)
	if !strings.HasPrefix(s, "$") {
		return nil, bad
	}
	steps := []jsonStep{}
	for s = s[1:]; s != ""; {
		if s[0] == '.' {
			end := strings.IndexAny(s[1:], ".[")
			if end < 0 {
				end = len(s) - 1
			}
			name := s[1 : 1+end]
			if name == "" || strings.ContainsAny(name, "*?()@ ") {
				return nil, bad
			}
			steps = append(steps, jsonStep{name: name})
			s = s[1+end:]
			continue
		}
		end := strings.IndexByte(s, ']')
		if s[0] != '[' || end < 0 {
			return nil, bad
		}
		inner := strings.TrimSpace(s[1:end])
		s = s[end+1:]
		if len(inner) >= 2 && (inner[0] == '\'' || inner[0] == '"') && inner[len(inner)-1] == inner[0] {
			steps = append(steps, jsonStep{name: inner[1 : len(inner)-1]})
			continue
		}
		index, err := strconv.Atoi(inner)
		if err != nil || index < 0 {
			return nil, bad
		}
		steps = append(steps, jsonStep{index: index, array: true})
	}
	return steps, nil
}

// follow gives the JSON text at the path. Of equal keys of an object the last counts.
func follow(doc []byte, steps []jsonStep) (json.RawMessage, bool) {
	if !json.Valid(doc) {
		return nil, false
	}
	at := json.RawMessage(doc)
	for _, st := range steps {
		if st.array {
			var list []json.RawMessage
			if json.Unmarshal(at, &list) != nil || st.index >= len(list) {
				return nil, false
			}
			at = list[st.index]
			continue
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(at, &object) != nil {
			return nil, false
		}
		v, ok := object[st.name]
		if !ok {
			return nil, false
		}
		at = v
	}
	return bytes.TrimSpace(at), true
}

// jsonPaths gives the path of a row, compiled once when constant.
func jsonPaths(n *Node) (func(x *Call, i int) []jsonStep, error) {
	if a := n.Args[1]; a.Op == OpLiteral && !a.Literal.Null {
		steps, err := compilePath(string(a.Literal.Bytes))
		return func(*Call, int) []jsonStep { return steps }, err
	}
	return func(x *Call, i int) []jsonStep {
		steps, err := compilePath(string(x.Args[1].Text(i)))
		if err != nil {
			x.Fail(i, "%v", err)
		}
		return steps
	}, nil
}

// jsonValue gives the scalar at a path as text; null where there is none, for JSON's null, and for what is no JSON.
func jsonValue(n *Node) (Kernel, error) {
	path, err := jsonPaths(n)
	return func(x *Call, out *batch.Column, rows int) {
		x.Rows(out, rows, func(i int) {
			v, ok := follow(x.Args[0].Text(i), path(x, i))
			switch {
			case !ok || len(v) == 0 || v[0] == '{' || v[0] == '[' || v[0] == 'n':
				out.SetNull(i)
			case v[0] == '"':
				var s string
				if json.Unmarshal(v, &s) != nil {
					out.SetNull(i)
					return
				}
				out.Data = append(out.Data, s...)
			default:
				out.Data = append(out.Data, v...)
			}
		})
	}, err
}

func jsonExists(n *Node) (Kernel, error) {
	path, err := jsonPaths(n)
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Bools[i] = false
			if !out.IsNull(i) {
				_, out.Bools[i] = follow(x.Args[0].Text(i), path(x, i))
			}
		}
	}, err
}

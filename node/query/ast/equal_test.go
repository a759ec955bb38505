package ast

import (
	"reflect"
	"testing"
)

var posType = reflect.TypeFor[Pos]()

// samePositionless says whether two trees are equal, positions aside.
func samePositionless(a, b any) bool { return sameValue(reflect.ValueOf(a), reflect.ValueOf(b)) }

func sameValue(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Interface, reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return sameValue(a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).Type != posType && !sameValue(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !sameValue(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
	return a.Interface() == b.Interface()
}

func mustExpr(t *testing.T, src string) Expr {
	t.Helper()
	e, err := ParseExpr(src)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", src, err, err.(*Error).Caret(src))
	}
	return e
}

func mustScript(t *testing.T, src string) *Script {
	t.Helper()
	s, err := Parse(src)
	if err != nil {
		t.Fatalf("%v\n%s", err, err.(*Error).Caret(src))
	}
	return s
}

// queriesOf are the queries of a script's statements.
func queriesOf(s *Script) []Query {
	var list []Query
	for _, st := range s.Statements {
		switch st := st.(type) {
		case *SelectStatement:
			list = append(list, st.Query)
		case *Insert:
			list = append(list, st.Query)
		case *CreateView:
			list = append(list, st.Query)
		case *StatementSet:
			for _, in := range st.Inserts {
				list = append(list, in.Query)
			}
		}
	}
	return list
}

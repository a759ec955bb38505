package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// aggregateFunctions are the aggregates there are; unsupportedAggregates those of Flink that are not.
var (
	aggregateFunctions    = []string{"AVG", "COUNT", "MAX", "MIN", "SUM"}
	unsupportedAggregates = []string{"APPROX_COUNT_DISTINCT", "ARRAY_AGG", "COLLECT", "CUME_DIST", "DENSE_RANK", "FIRST_VALUE",
		"JSON_ARRAYAGG", "JSON_OBJECTAGG", "LAG", "LAST_VALUE", "LEAD", "LISTAGG", "NTILE", "PERCENTILE", "PERCENT_RANK", "RANK",
		"ROW_NUMBER", "STDDEV_POP", "STDDEV_SAMP", "SUM0", "VARIANCE", "VAR_POP", "VAR_SAMP"}
	legacyWindows    = []string{"HOP", "SESSION", "TUMBLE"}
	windowAuxiliary  = []string{"HOP_END", "HOP_PROCTIME", "HOP_ROWTIME", "HOP_START", "SESSION_END", "SESSION_START", "TUMBLE_END", "TUMBLE_PROCTIME", "TUMBLE_ROWTIME", "TUMBLE_START"}
	groupingFunction = []string{"CUBE", "GROUPING", "GROUPING SETS", "GROUPING_ID", "ROLLUP"}
)

const windowHint = "use a window table function: FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end"

// isAggregate says whether e is a call of an aggregate function.
func isAggregate(e ast.Expr) (*ast.Call, bool) {
	call, ok := e.(*ast.Call)
	return call, ok && slices.Contains(aggregateFunctions, strings.ToUpper(call.Name))
}

// hasAggregate says whether an aggregate is called anywhere in e.
func hasAggregate(e ast.Expr) bool {
	found := false
	walkExpr(e, func(e ast.Expr) bool {
		if _, ok := isAggregate(e); ok {
			found = true
		}
		return !found
	})
	return found
}

// refuseInExpr refuses by name what no expression may hold, and aggregates, which SELECT and HAVING take out before.
func refuseInExpr(e ast.Expr, clause string) error {
	var err error
	walkExpr(e, func(e ast.Expr) bool {
		if err == nil {
			err = refuseNode(e)
		}
		if call, ok := isAggregate(e); ok && err == nil {
			err = hinted(call.Pos, aggregateHint(clause), "aggregate %s may not stand in %s", strings.ToUpper(call.Name), clause)
		}
		return err == nil
	})
	return err
}

func aggregateHint(clause string) string {
	switch clause {
	case "WHERE":
		return "use HAVING for conditions on aggregates"
	case "GROUP BY":
		return "group in a subquery first"
	case "an aggregate":
		return "aggregate in a subquery first"
	}
	return ""
}

// refuseForms refuses by name what no expression may hold.
func refuseForms(e ast.Expr) error {
	var err error
	walkExpr(e, func(e ast.Expr) bool {
		if err == nil {
			err = refuseNode(e)
		}
		return err == nil
	})
	return err
}

func refuseNode(e ast.Expr) error {
	switch x := e.(type) {
	case *ast.ScalarSubquery:
		return unsupported(x.Pos, "a subquery in an expression is", "")
	case *ast.Exists:
		return unsupported(x.Pos, "EXISTS is", "")
	case *ast.In:
		if x.Query != nil {
			return unsupported(x.Pos, "IN (SELECT ...) is", "list the values, or use a custom operator")
		}
	case *ast.Call:
		return refuseCall(x)
	}
	return nil
}

func refuseCall(x *ast.Call) error {
	name := strings.ToUpper(x.Name)
	_, aggregate := isAggregate(x)
	switch {
	case x.Over != nil:
		return unsupported(x.Over.Pos, fmt.Sprintf("OVER (%s as a window function) is", name), "use GROUP BY, a window table function or a custom operator")
	case slices.Contains(unsupportedAggregates, name):
		return unsupported(x.Pos, "the aggregate "+name+" is", "there are "+strings.Join(aggregateFunctions, ", "))
	case slices.Contains(legacyWindows, name) || slices.Contains(windowAuxiliary, name):
		return unsupported(x.Pos, "the group window function "+name+" is", windowHint)
	case slices.Contains(groupingFunction, name):
		return unsupported(x.Pos, name+" is", "use several INSERTs, or UNION ALL of several GROUP BYs")
	case x.Distinct && !aggregate:
		return errorAt(x.Pos, "DISTINCT may stand only in aggregates; %s is none", name)
	case x.Filter != nil && !aggregate:
		return errorAt(x.Pos, "FILTER may follow only aggregates; %s is none", name)
	}
	return nil
}

// refuseTail refuses ORDER BY and LIMIT.
func refuseTail(pos ast.Pos, orderBy []ast.OrderItem, limit ast.Expr) error {
	if len(orderBy) > 0 {
		return unsupported(orderBy[0].Expr.Position(), "ORDER BY is", "rows of a stream have no end; sort what the sink wrote")
	}
	if limit != nil {
		return unsupported(limit.Position(), "LIMIT is", "bound the source, such as 'number-of-rows' of datagen")
	}
	return nil
}

// refuseRandom refuses functions that give another value at each evaluation where that would break results.
func refuseRandom(n *expr.Node, where string) error {
	var err error
	expr.Walk(n, func(n *expr.Node) {
		if err == nil && n.IsRandom() {
			err = errorAt(n.Pos, "%s may not stand in %s: it gives another value each time", n.Func, where)
		}
	})
	return err
}

// refuseUnstable refuses what would give a retraction another value than the row it retracts has: functions of the moment or of
// the row's place over rows that update.
func refuseUnstable(n *expr.Node, u *updating) error {
	if u == nil {
		return nil
	}
	var err error
	expr.Walk(n, func(n *expr.Node) {
		if err == nil && n.Op == expr.OpCall && isUnstable(n) {
			err = hinted(n.Pos, batchOrWindow, "%s gives another value each time, which does not go with rows that are updated because of %s at line %d",
				n.Func, u.what, u.pos.Line)
		}
	})
	return err
}

// checkKeyType refuses types that rows cannot be grouped by.
func checkKeyType(n *expr.Node, pos ast.Pos, clause string) error {
	if containsType(n.Type, batch.Map) {
		return errorAt(pos, "%s cannot use %s", clause, n.Type.Nullable())
	}
	return nil
}

func containsType(t batch.Type, id batch.TypeID) bool {
	return t.ID == id || slices.ContainsFunc(t.Fields, func(f batch.Field) bool { return containsType(f.Type, id) })
}

// walkExpr calls f for e and what is in it, parents first; f says whether to go on below.
func walkExpr(e ast.Expr, f func(ast.Expr) bool) {
	if e == nil || !f(e) {
		return
	}
	for _, child := range children(e) {
		walkExpr(child, f)
	}
}

func children(e ast.Expr) []ast.Expr {
	switch x := e.(type) {
	case *ast.Unary:
		return []ast.Expr{x.X}
	case *ast.Binary:
		return []ast.Expr{x.L, x.R}
	case *ast.Is:
		return []ast.Expr{x.X}
	case *ast.IsDistinct:
		return []ast.Expr{x.L, x.R}
	case *ast.Between:
		return []ast.Expr{x.X, x.Low, x.High}
	case *ast.In:
		return append([]ast.Expr{x.X}, x.List...)
	case *ast.Like:
		return []ast.Expr{x.X, x.Pattern, x.Escape}
	case *ast.Case:
		list := []ast.Expr{x.Operand}
		for _, w := range x.Whens {
			list = append(list, w.Cond, w.Then)
		}
		return append(list, x.Else)
	case *ast.Cast:
		return []ast.Expr{x.X}
	case *ast.Call:
		return append(slices.Clone(x.Args), x.Filter)
	case *ast.ArrayValue:
		return x.Items
	case *ast.MapValue:
		return x.Items
	case *ast.RowValue:
		return x.Items
	case *ast.Index:
		return []ast.Expr{x.X, x.I}
	case *ast.FieldAccess:
		return []ast.Expr{x.X}
	}
	return nil
}

// momentFunctions give time(e), which is another one when a row is retracted.
var momentFunctions = []string{"CURRENT_DATE", "CURRENT_ROW_TIMESTAMP", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME",
	"LOCALTIMESTAMP", "NOW", "PROCTIME"}

func isUnstable(n *expr.Node) bool {
	return n.IsRandom() || slices.Contains(momentFunctions, n.Func) || n.Func == "UNIX_TIMESTAMP" && len(n.Args) == 0
}

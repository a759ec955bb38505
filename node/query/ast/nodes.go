package ast

import "github.com/seepnode/seepnode/dataplane/batch"

// Pos is a place in the query text. Line and Column count from 1; Column counts characters, not bytes.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

// Script is a whole file: one query, in statement order.
type Script struct {
	Statements []Statement
}

// Statement is one of CreateTable, CreateView, Insert, StatementSet, Select(as *SelectStatement), Set.
type Statement interface {
	Position() Pos
	statement()
}

// Expr is a scalar expression.
type Expr interface {
	Position() Pos
	expr()
}

// Relation is what may stand in FROM.
type Relation interface {
	Position() Pos
	relation()
}

// Query is the body of a SELECT, a UNION ALL or VALUES.
type Query interface {
	Position() Pos
	query()
}

// Option is one 'key' = 'value' of a WITH clause, in source order.
type Option struct {
	Pos      Pos
	Key      string
	Value    string
	ValuePos Pos
}

type (
	// CreateTable is CREATE [TEMPORARY] TABLE [IF NOT EXISTS] name (...) [COMMENT ''] [PARTITIONED BY (..)] WITH (...).
	CreateTable struct {
		Pos           Pos
		Name          Name
		IfNotExists   bool
		Columns       []ColumnDef
		Watermark     *Watermark // nil without WATERMARK FOR
		PrimaryKey    []Name     // nil without PRIMARY KEY (...) NOT ENFORCED
		PartitionedBy []Name
		Options       []Option
	}
	// ColumnDef is a physical column (Type set), or a computed one (Computed set, Type zero).
	ColumnDef struct {
		Name     Name
		Type     batch.Type
		Computed Expr
		// Metadata is the key of "name TYPE METADATA [FROM 'key'] [VIRTUAL]", "" otherwise.
		Metadata string
		Virtual  bool // a METADATA column that INSERT INTO leaves out
		Comment  string
	}
	// Watermark is WATERMARK FOR column AS expr.
	Watermark struct {
		Pos    Pos
		Column Name
		Expr   Expr
	}
	// CreateView is CREATE [TEMPORARY] VIEW [IF NOT EXISTS] name [(cols)] AS query.
	CreateView struct {
		Pos         Pos
		Name        Name
		IfNotExists bool
		Columns     []Name
		Query       Query
	}
	// Insert is INSERT INTO table [(cols)] query.
	Insert struct {
		Pos     Pos
		Table   Name
		Columns []Name
		Query   Query
	}
	// StatementSet is EXECUTE STATEMENT SET BEGIN ... END, or BEGIN STATEMENT SET; ... END.
	StatementSet struct {
		Pos     Pos
		Inserts []*Insert
	}
	// SelectStatement is a bare query whose rows are printed.
	SelectStatement struct {
		Pos   Pos
		Query Query
	}
	// Set is SET 'key' = 'value'.
	Set struct {
		Pos      Pos
		Key      string
		Value    string
		ValuePos Pos
	}
)

// Name is an identifier as the user wrote it (without backquotes) and where.
// Identifiers are case-sensitive, as in Flink; keywords and function names are not.
type Name struct {
	Pos  Pos
	Text string
}

type (
	// Select is SELECT [DISTINCT] items FROM ... WHERE ... GROUP BY ... HAVING ...
	Select struct {
		Pos      Pos
		Distinct bool
		Items    []SelectItem
		From     Relation // nil for SELECT without FROM
		Where    Expr
		GroupBy  []Expr
		Having   Expr
		// OrderBy, Limit are parsed so that the planner can refuse them by name.
		OrderBy []OrderItem
		Limit   Expr
	}
	// SelectItem is expr [AS alias], or [qualifier.]* (Star true, Expr nil).
	SelectItem struct {
		Pos       Pos
		Star      bool
		Qualifier string
		Expr      Expr
		Alias     string
	}
	// OrderItem is one expression of ORDER BY.
	OrderItem struct {
		Expr       Expr
		Desc       bool
		NullsFirst *bool
	}
	// SetOp is left OP right. Op is "UNION ALL", "UNION", "INTERSECT" or "EXCEPT"; the planner refuses what it lacks.
	SetOp struct {
		Pos         Pos
		Op          string
		Left, Right Query
		OrderBy     []OrderItem
		Limit       Expr
	}
	// Values is VALUES (..), (..).
	Values struct {
		Pos  Pos
		Rows [][]Expr
	}
	// With is WITH name AS (query), ... query.
	With struct {
		Pos   Pos
		Views []CreateView
		Body  Query
	}
)

type (
	// TableRef is a table or view by name, with an optional alias and column names.
	TableRef struct {
		Pos     Pos
		Name    Name
		Alias   string
		Columns []Name
	}
	// Subquery is (query) [AS] alias [(cols)].
	Subquery struct {
		Pos     Pos
		Query   Query
		Alias   string
		Columns []Name
	}
	// TableFunction is a table-valued call in FROM: TABLE(f(args)), f(args) or LATERAL TABLE(f(args)), with alias and columns.
	// Window TVFs and process table functions are calls too; their arguments may be TableArg, Descriptor or Expr.
	TableFunction struct {
		Pos     Pos
		Lateral bool
		Call    *TableCall
		Alias   string
		Columns []Name
	}
	// Unnest is UNNEST(expr) [WITH ORDINALITY] AS t(c...).
	Unnest struct {
		Pos        Pos
		Expr       Expr
		Ordinality bool
		Alias      string
		Columns    []Name
	}
	// Join is left KIND JOIN right [ON cond]. Kind is "CROSS" (also the comma), "INNER", "LEFT", "RIGHT" or "FULL".
	Join struct {
		Pos         Pos
		Kind        string
		Left, Right Relation
		On          Expr // nil without ON; ON TRUE is a Literal
		Using       []Name
	}
	// TableCall is the function of a TableFunction.
	TableCall struct {
		Pos  Pos
		Name string
		Args []TableCallArg
	}
	// TableCallArg is one argument: exactly one of Table, Descriptor, Expr is set. Name is set for name => value.
	TableCallArg struct {
		Pos        Pos
		Name       string
		Table      *TableArg
		Descriptor []Name
		Expr       Expr
	}
	// TableArg is TABLE name|(query) [PARTITION BY (cols)|col, ...].
	TableArg struct {
		Pos         Pos
		Relation    Relation // TableRef or Subquery
		PartitionBy []Name
	}
)

// LiteralKind tells how a Literal was written.
type LiteralKind uint8

const (
	LiteralNull      LiteralKind = 1
	LiteralBool      LiteralKind = 2
	LiteralNumber    LiteralKind = 3 // Text holds the digits: "1", "1.5", "1e3"
	LiteralString    LiteralKind = 4 // Text holds the unescaped string
	LiteralHex       LiteralKind = 5 // X'0A': Text holds the hex digits
	LiteralDate      LiteralKind = 6 // DATE '2020-01-01'
	LiteralTime      LiteralKind = 7
	LiteralTimestamp LiteralKind = 8
	LiteralInterval  LiteralKind = 9 // INTERVAL '10' SECOND: Text "10", Unit "SECOND" or "DAY TO SECOND"; a leading minus is kept in Text
)

type (
	// Literal is a constant.
	Literal struct {
		Pos  Pos
		Kind LiteralKind
		Text string
		Unit string // LiteralInterval
		Bool bool   // LiteralBool
	}
	// Column is [qualifier.]name; further parts are field accesses of ROW columns. Parts has at least one element.
	Column struct {
		Pos   Pos
		Parts []Name
	}
	// Unary is "-", "+" or "NOT".
	Unary struct {
		Pos Pos
		Op  string
		X   Expr
	}
	// Binary is + - * / % || = <> < <= > >= AND OR. "!=" is given as "<>".
	Binary struct {
		Pos  Pos // of the operator
		Op   string
		L, R Expr
	}
	// Is is X IS [NOT] NULL|TRUE|FALSE|UNKNOWN.
	Is struct {
		Pos  Pos
		X    Expr
		Not  bool
		What string // "NULL", "TRUE", "FALSE", "UNKNOWN"
	}
	// IsDistinct is X IS [NOT] DISTINCT FROM Y.
	IsDistinct struct {
		Pos  Pos
		L, R Expr
		Not  bool
	}
	// Between is X [NOT] BETWEEN Low AND High.
	Between struct {
		Pos          Pos
		X, Low, High Expr
		Not          bool
	}
	// In is X [NOT] IN (list).
	In struct {
		Pos   Pos
		X     Expr
		List  []Expr
		Query Query // set instead of List for a subquery, which the planner refuses
		Not   bool
	}
	// Like is X [NOT] LIKE pattern [ESCAPE e], or SIMILAR TO.
	Like struct {
		Pos     Pos
		X       Expr
		Pattern Expr
		Escape  Expr
		Not     bool
		Similar bool
	}
	// Case is CASE [Operand] WHEN .. THEN .. [ELSE ..] END.
	Case struct {
		Pos     Pos
		Operand Expr
		Whens   []When
		Else    Expr
	}
	// When is one branch of a Case.
	When struct{ Cond, Then Expr }
	// Cast is CAST(X AS T) or TRY_CAST(X AS T).
	Cast struct {
		Pos  Pos
		X    Expr
		Type batch.Type
		Try  bool
	}
	// Call is a function call, aggregate or scalar. Name is as written; look it up without regard to case.
	// Special forms are calls too: EXTRACT(u FROM x) has Args {Literal string u, x}; TRIM([BOTH|LEADING|TRAILING] [c] FROM x)
	// has Name "TRIM" and Args {Literal string "BOTH"|"LEADING"|"TRAILING", c, x}; SUBSTRING(x FROM a [FOR b]), OVERLAY, POSITION(a IN b),
	// CEIL(x TO u), FLOOR(x TO u), TIMESTAMPADD(u, n, x), TIMESTAMPDIFF(u, a, b) carry units as string literals;
	// CURRENT_TIMESTAMP, LOCALTIME ... without parentheses are calls with no Args.
	Call struct {
		Pos      Pos
		Name     string
		Distinct bool
		Star     bool // COUNT(*)
		Args     []Expr
		Filter   Expr // FILTER (WHERE ..)
		Over     *Over
		// WithinGroup, IGNORE NULLS and the like are syntax errors that name the clause.
	}
	// Over is parsed so that the planner can refuse it by name, or later use it.
	Over struct {
		Pos         Pos
		PartitionBy []Expr
		OrderBy     []OrderItem
		// Frame is the frame clause as written, "" if absent.
		Frame string
	}
	// ArrayValue is ARRAY[..].
	ArrayValue struct {
		Pos   Pos
		Items []Expr
	}
	// MapValue is MAP[k, v, ...].
	MapValue struct {
		Pos   Pos
		Items []Expr
	}
	// RowValue is ROW(..) or (a, b).
	RowValue struct {
		Pos   Pos
		Items []Expr
	}
	// Index is X[i] on arrays (from 1) and maps.
	Index struct {
		Pos Pos
		X   Expr
		I   Expr
	}
	// FieldAccess is X.name where X is not a plain column path.
	FieldAccess struct {
		Pos  Pos
		X    Expr
		Name Name
	}
	// ScalarSubquery and Exists are parsed so that the planner can refuse them by name.
	ScalarSubquery struct {
		Pos   Pos
		Query Query
	}
	// Exists is EXISTS (query).
	Exists struct {
		Pos   Pos
		Query Query
	}
)

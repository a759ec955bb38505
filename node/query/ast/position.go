package ast

func (n *CreateTable) Position() Pos     { return n.Pos }
func (*CreateTable) statement()          {}
func (n *CreateView) Position() Pos      { return n.Pos }
func (*CreateView) statement()           {}
func (n *Insert) Position() Pos          { return n.Pos }
func (*Insert) statement()               {}
func (n *StatementSet) Position() Pos    { return n.Pos }
func (*StatementSet) statement()         {}
func (n *SelectStatement) Position() Pos { return n.Pos }
func (*SelectStatement) statement()      {}
func (n *Set) Position() Pos             { return n.Pos }
func (*Set) statement()                  {}
func (n *Select) Position() Pos          { return n.Pos }
func (*Select) query()                   {}
func (n *SetOp) Position() Pos           { return n.Pos }
func (*SetOp) query()                    {}
func (n *Values) Position() Pos          { return n.Pos }
func (*Values) query()                   {}
func (n *With) Position() Pos            { return n.Pos }
func (*With) query()                     {}
func (n *TableRef) Position() Pos        { return n.Pos }
func (*TableRef) relation()              {}
func (n *Subquery) Position() Pos        { return n.Pos }
func (*Subquery) relation()              {}
func (n *TableFunction) Position() Pos   { return n.Pos }
func (*TableFunction) relation()         {}
func (n *Unnest) Position() Pos          { return n.Pos }
func (*Unnest) relation()                {}
func (n *Join) Position() Pos            { return n.Pos }
func (*Join) relation()                  {}
func (n *Literal) Position() Pos         { return n.Pos }
func (*Literal) expr()                   {}
func (n *Column) Position() Pos          { return n.Pos }
func (*Column) expr()                    {}
func (n *Unary) Position() Pos           { return n.Pos }
func (*Unary) expr()                     {}
func (n *Binary) Position() Pos          { return n.Pos }
func (*Binary) expr()                    {}
func (n *Is) Position() Pos              { return n.Pos }
func (*Is) expr()                        {}
func (n *IsDistinct) Position() Pos      { return n.Pos }
func (*IsDistinct) expr()                {}
func (n *Between) Position() Pos         { return n.Pos }
func (*Between) expr()                   {}
func (n *In) Position() Pos              { return n.Pos }
func (*In) expr()                        {}
func (n *Like) Position() Pos            { return n.Pos }
func (*Like) expr()                      {}
func (n *Case) Position() Pos            { return n.Pos }
func (*Case) expr()                      {}
func (n *Cast) Position() Pos            { return n.Pos }
func (*Cast) expr()                      {}
func (n *Call) Position() Pos            { return n.Pos }
func (*Call) expr()                      {}
func (n *ArrayValue) Position() Pos      { return n.Pos }
func (*ArrayValue) expr()                {}
func (n *MapValue) Position() Pos        { return n.Pos }
func (*MapValue) expr()                  {}
func (n *RowValue) Position() Pos        { return n.Pos }
func (*RowValue) expr()                  {}
func (n *Index) Position() Pos           { return n.Pos }
func (*Index) expr()                     {}
func (n *FieldAccess) Position() Pos     { return n.Pos }
func (*FieldAccess) expr()               {}
func (n *ScalarSubquery) Position() Pos  { return n.Pos }
func (*ScalarSubquery) expr()            {}
func (n *Exists) Position() Pos          { return n.Pos }
func (*Exists) expr()                    {}

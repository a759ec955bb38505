package batch

// Weight of a row: an insert or a retraction.
const (
	Insert  int8 = +1
	Retract int8 = -1
)

// Batch is rows of one schema as columns. The zero number of rows is a valid batch.
type Batch struct {
	Schema *Schema
	Cols   []Column
	// Weights holds Insert or Retract per row; nil means that every row is an insert.
	Weights []int8
	rows    int
	spare   []int8 // memory of Weights while that is nil
}

// New makes an empty batch.
func New(s *Schema) *Batch {
	b := &Batch{Schema: s, Cols: make([]Column, len(s.Fields))}
	for i := range b.Cols {
		b.Cols[i].Init(s.Fields[i].Type)
	}
	return b
}

// Len is the number of rows.
func (b *Batch) Len() int { return b.rows }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	for i := range b.Cols {
		b.Cols[i].Reset()
	}
	if b.Weights != nil {
		b.spare = b.Weights[:0]
	}
	b.Weights, b.rows = nil, 0
}

// SetLen states the number of rows after columns were written directly. Weights must be nil or have n elements.
func (b *Batch) SetLen(n int) { b.rows = n }

// Weight is the weight of row i.
func (b *Batch) Weight(i int) int8 {
	if b.Weights == nil {
		return Insert
	}
	return b.Weights[i]
}

// EndRow ends a row whose values were appended one to each column.
func (b *Batch) EndRow(weight int8) {
	if weight != Insert || b.Weights != nil {
		b.needWeights()
		b.Weights = append(b.Weights, weight)
	}
	b.rows++
}

func (b *Batch) needWeights() {
	if b.Weights == nil {
		b.Weights = resize(b.spare, b.rows)
		b.spare = nil
		if b.Weights == nil {
			b.Weights = make([]int8, 0, 16)
		}
		for i := range b.Weights {
			b.Weights[i] = Insert
		}
	}
}

// AppendRow appends row i of src, which has the same column kinds.
func (b *Batch) AppendRow(src *Batch, i int) {
	for k := range b.Cols {
		b.Cols[k].AppendFrom(&src.Cols[k], i)
	}
	b.EndRow(src.Weight(i))
}

// AppendRange appends rows [from, to) of src, which has the same column kinds and is not b.
func (b *Batch) AppendRange(src *Batch, from, to int) {
	if from >= to {
		return
	}
	for k := range b.Cols {
		b.Cols[k].AppendRange(&src.Cols[k], from, to)
	}
	if src.Weights != nil || b.Weights != nil {
		b.needWeights()
		for i := from; i < to; i++ {
			b.Weights = append(b.Weights, src.Weight(i))
		}
	}
	b.rows += to - from
}

// AppendGather appends the rows of src that idx names, in idx's order; src has the same column kinds and is not b.
func (b *Batch) AppendGather(src *Batch, idx []uint32) {
	for k := range b.Cols {
		b.Cols[k].AppendGather(&src.Cols[k], idx)
	}
	if src.Weights != nil || b.Weights != nil {
		b.needWeights()
		for _, i := range idx {
			b.Weights = append(b.Weights, src.Weight(int(i)))
		}
	}
	b.rows += len(idx)
}

// MemBytes is the memory that the rows take, in bytes, capacity not counted.
func (b *Batch) MemBytes() int {
	n := len(b.Weights)
	for i := range b.Cols {
		n += b.Cols[i].MemBytes()
	}
	return n
}

// Row is a cursor on one row of a batch: valid as long as the batch is unchanged.
type Row struct {
	Batch *Batch
	Index int
}

// Row is a cursor on row i.
func (b *Batch) Row(i int) Row { return Row{b, i} }

// IsNull says whether the value in column col is null.
func (r Row) IsNull(col int) bool { return r.Batch.Cols[col].IsNull(r.Index) }

// Int64 is the value of a column of KindInt64; 0 when null.
func (r Row) Int64(col int) int64 { return r.Batch.Cols[col].Int64s[r.Index] }

// Float64 is the value of a column of KindFloat64; 0 when null.
func (r Row) Float64(col int) float64 { return r.Batch.Cols[col].Float64s[r.Index] }

// Bool is the value of a column of KindBool; false when null.
func (r Row) Bool(col int) bool { return r.Batch.Cols[col].Bools[r.Index] }

// Dec is the unscaled value of a column of KindDecimal; zero when null.
func (r Row) Dec(col int) Dec { return r.Batch.Cols[col].Decs[r.Index] }

// Bytes is the value of a column of KindBytes, valid as long as the batch is unchanged; empty when null.
func (r Row) Bytes(col int) []byte { return r.Batch.Cols[col].Bytes(r.Index) }

// Text is a copy of the value of a column of KindBytes; "" when null.
func (r Row) Text(col int) string { return string(r.Batch.Cols[col].Bytes(r.Index)) }

// Weight is Insert or Retract.
func (r Row) Weight() int8 { return r.Batch.Weight(r.Index) }

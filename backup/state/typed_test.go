package state

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"pgregory.net/rapid"
)

type position struct {
	Lane  int8
	Mile  uint16
	exact float32
}

type car struct {
	ID      int64
	Speed   float64
	Stopped bool
	Plate   string
	Raw     []byte
	Hash    [4]byte
	Seen    [2]position
	_       int32
	U       uint64
	Small   uint8
	I       int
	U32     uint32
	I16     int16
}

var aCar = car{ID: math.MinInt64, Speed: -0.5, Stopped: true, Plate: "B-\x00 1", Raw: []byte{}, Hash: [4]byte{1, 2, 3, 4},
	Seen: [2]position{{-1, 65535, 0.1}, {127, 3, float32(math.Inf(1))}}, U: math.MaxUint64, Small: 255, I: -7, U32: math.MaxUint32, I16: -300}

func keyed(g *Group, key string) { g.SetKey(batch.HashKey([]byte(key)), []byte(key)) }

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestValueGivesBackWhatWasSetPerKey(t *testing.T) {
	g := NewGroup()
	cars := must[*Value[car]](t)(NewValue[car](g, "cars"))
	n := must[*Value[int]](t)(NewValue[int](g, "n"))
	nothing := must[*Value[struct{}]](t)(NewValue[struct{}](g, "nothing"))
	keyed(g, "a")
	if _, ok := cars.Get(); ok {
		t.Fatal("a value that was never set is there")
	}
	cars.Set(aCar)
	n.Update(func(v *int) { *v += 5 })
	n.Update(func(v *int) { *v += 5 })
	nothing.Set(struct{}{})
	keyed(g, "b")
	if _, ok := cars.Get(); ok {
		t.Fatal("another key sees the value")
	}
	cars.Set(car{})
	keyed(g, "a")
	got, ok := cars.Get()
	if !ok || !reflect.DeepEqual(got, aCar) {
		t.Fatalf("got %+v, want %+v", got, aCar)
	}
	got.Raw = append(got.Raw, 9)
	if v, _ := n.Get(); v != 10 {
		t.Errorf("n is %d after two updates of 5", v)
	}
	if _, ok := nothing.Get(); !ok {
		t.Error("a value without fields is not there after Set")
	}
	cars.Delete()
	cars.Delete()
	if _, ok := cars.Get(); ok {
		t.Error("a deleted value is there")
	}
	keyed(g, "b")
	if v, ok := cars.Get(); !ok || v.Raw != nil {
		t.Errorf("zero value came back as %+v", v)
	}
}

func TestUpdateMayUseTheSameState(t *testing.T) {
	g := NewGroup()
	v := must[*Value[int]](t)(NewValue[int](g, "v"))
	m := must[*Map[string, int]](t)(NewMap[string, int](g, "m"))
	keyed(g, "a")
	v.Update(func(x *int) {
		*x = 1
		v.Update(func(y *int) { *y = 2 })
		v.Delete()
		*x += 10
	})
	if got, _ := v.Get(); got != 11 {
		t.Errorf("value is %d", got)
	}
	m.Update("k", func(x *int) {
		for i := range 100 {
			m.Put(fmt.Sprint(i), i)
		}
		m.Delete("k")
		*x = 7
	})
	if got, _ := m.Get("k"); got != 7 || m.Len() != 101 {
		t.Errorf("map holds %d of %d", got, m.Len())
	}
}

type leg struct {
	Road string
	Dir  bool
	At   float64
	N    uint64
	Cell [2]int8
}

func TestMapIsAMapPerKeyInKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGroup()
		m, err := NewMap[string, int64](g, "m")
		if err != nil {
			t.Fatal(err)
		}
		model := map[string]map[string]int64{}
		key := rapid.SampledFrom([]string{"", "a", "a\x00", "b\x01"})
		own := rapid.SampledFrom([]string{"", "\x00", "\x00\xff", "x", "xx", "y", strings.Repeat("z", 40)})
		g.Begin(1)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, o, v := key.Draw(t, "k"), own.Draw(t, "own"), rapid.Int64().Draw(t, "v")
				keyed(g, k)
				m.Put(o, v)
				if model[k] == nil {
					model[k] = map[string]int64{}
				}
				model[k][o] = v
			},
			"update": func(t *rapid.T) {
				k, o := key.Draw(t, "k"), own.Draw(t, "own")
				keyed(g, k)
				m.Update(o, func(v *int64) { *v++ })
				if model[k] == nil {
					model[k] = map[string]int64{}
				}
				model[k][o]++
			},
			"delete": func(t *rapid.T) {
				k, o := key.Draw(t, "k"), own.Draw(t, "own")
				keyed(g, k)
				m.Delete(o)
				delete(model[k], o)
			},
			"clear": func(t *rapid.T) {
				k := key.Draw(t, "k")
				keyed(g, k)
				m.Clear()
				delete(model, k)
			},
			"acknowledge": func(t *rapid.T) { g.Acknowledge(g.tables[0].epoch); g.Begin(g.tables[0].epoch + 1) },
			"reload": func(t *rapid.T) {
				if err := g.Reload(); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				for _, k := range []string{"", "a", "a\x00", "b\x01"} {
					keyed(g, k)
					if m.Len() != len(model[k]) {
						t.Fatalf("Len of %q is %d, want %d", k, m.Len(), len(model[k]))
					}
					var keys []string
					for o, v := range m.All() {
						if w, ok := model[k][o]; !ok || w != v {
							t.Fatalf("%q[%q] is %d, want %d", k, o, v, w)
						}
						if got, ok := m.Get(o); !ok || got != v {
							t.Fatalf("Get gives %d, All %d", got, v)
						}
						keys = append(keys, o)
					}
					if want := slices.Sorted(maps.Keys(model[k])); !slices.Equal(keys, want) {
						t.Fatalf("keys of %q come as %q, want %q", k, keys, want)
					}
				}
			},
		})
	})
}

func TestMapKeysOfEveryTypeComeBackInTheirOrder(t *testing.T) {
	checkOrder(t, []int8{-128, -1, 0, 127})
	checkOrder(t, []int16{-300, 300})
	checkOrder(t, []int32{math.MinInt32, 0, math.MaxInt32})
	checkOrder(t, []int64{math.MinInt64, -1, 0, 1, math.MaxInt64})
	checkOrder(t, []int{-5, 5})
	checkOrder(t, []uint8{0, 200, 255})
	checkOrder(t, []uint16{0, 65535})
	checkOrder(t, []uint32{0, 1 << 31, math.MaxUint32})
	checkOrder(t, []uint64{0, 1, 1 << 63, math.MaxUint64})
	checkOrder(t, []uint{0, 1 << 63})
	checkOrder(t, []float64{math.Inf(-1), -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 2, math.Inf(1)})
	checkOrder(t, []float32{-1, 0.5, 1e30})
	checkOrder(t, []bool{false, true})
	checkOrder(t, []string{"", "\x00", "\x00\x00", "a", "a\x00", "aa", "\xff"})
	checkOrder(t, [][3]byte{{}, {0, 0, 1}, {255}})
	checkOrder(t, []struct{}{{}})
	checkOrder(t, []leg{{"", true, 0, 0, [2]int8{}}, {"a", false, 1, 0, [2]int8{}}, {"a", false, 1, 0, [2]int8{0, 1}},
		{"a", false, 1, 1 << 63, [2]int8{-1, 0}}, {"a", true, -1, 0, [2]int8{}}, {"a\x00", false, 0, 0, [2]int8{}},
		{"a\x00\x01", false, 0, 0, [2]int8{}}, {"ab", false, 0, 0, [2]int8{}}})
}

func checkOrder[K comparable](t *testing.T, keys []K) {
	t.Helper()
	g := NewGroup()
	m := must[*Map[K, int]](t)(NewMap[K, int](g, "m"))
	keyed(g, "k")
	for i := range keys {
		m.Put(keys[len(keys)-1-i], len(keys)-1-i)
	}
	check := func() {
		t.Helper()
		i := 0
		for k, v := range m.All() {
			if k != keys[i] || v != i {
				t.Errorf("%T: number %d is %v (%d), want %v", k, i, k, v, keys[i])
			}
			i++
		}
		if i != len(keys) {
			t.Errorf("%T: %d keys of %d", keys[0], i, len(keys))
		}
	}
	check()
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestNegativeZeroAndNaNAreOneKeyEach(t *testing.T) {
	g := NewGroup()
	m := must[*Map[float64, int]](t)(NewMap[float64, int](g, "m"))
	keyed(g, "k")
	m.Put(math.Copysign(0, -1), 1)
	m.Put(0, 2)
	m.Put(math.NaN(), 3)
	m.Put(math.Float64frombits(0xFFF8000000000001), 4)
	if m.Len() != 2 {
		t.Errorf("%d keys, want 2", m.Len())
	}
}

func TestIterationVisitsTheKeysThatWereThereAtItsStart(t *testing.T) {
	for _, tracked := range []bool{false, true} {
		g := NewGroup()
		m := must[*Map[int, string]](t)(NewMap[int, string](g, "m"))
		if tracked {
			g.Begin(1)
		}
		keyed(g, "k")
		for i := range 10 {
			m.Put(i, fmt.Sprint(i))
		}
		var got []string
		for k, v := range m.All() {
			got = append(got, v)
			switch k {
			case 0:
				m.Delete(0)
				m.Delete(1)
				m.Put(100, "new")
				m.Put(2, "changed")
				m.Delete(3)
				m.Put(3, "again")
				for range m.All() { // one within the other
					keyed(g, "other")
					m.Put(5, "elsewhere")
					keyed(g, "k")
				}
			case 8:
				m.Clear()
			}
		}
		if want := "0 changed again 4 5 6 7 8"; strings.Join(got, " ") != want {
			t.Errorf("visited %q, want %q", got, want)
		}
		if m.Len() != 0 {
			t.Errorf("%d keys after Clear", m.Len())
		}
	}
}

func TestListIsASequencePerKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGroup()
		l, err := NewList[string](g, "l")
		if err != nil {
			t.Fatal(err)
		}
		model := map[string][]string{}
		key := rapid.SampledFrom([]string{"", "a", "b"})
		g.Begin(1)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				k, v := key.Draw(t, "k"), rapid.String().Draw(t, "v")
				keyed(g, k)
				l.Append(v)
				model[k] = append(model[k], v)
			},
			"pop": func(t *rapid.T) {
				k, n := key.Draw(t, "k"), rapid.IntRange(-1, 4).Draw(t, "n")
				keyed(g, k)
				want := max(0, min(n, len(model[k])))
				if got := l.PopFront(n); got != want {
					t.Fatalf("PopFront(%d) of %d gives %d", n, len(model[k]), got)
				}
				model[k] = model[k][want:]
			},
			"set": func(t *rapid.T) {
				k, i := key.Draw(t, "k"), rapid.IntRange(-1, 5).Draw(t, "i")
				keyed(g, k)
				if ok := l.Set(i, "set"); ok != (i >= 0 && i < len(model[k])) {
					t.Fatalf("Set(%d) of %d gives %v", i, len(model[k]), ok)
				} else if ok {
					model[k][i] = "set"
				}
			},
			"clear":       func(t *rapid.T) { k := key.Draw(t, "k"); keyed(g, k); l.Clear(); model[k] = nil },
			"acknowledge": func(t *rapid.T) { g.Acknowledge(g.tables[0].epoch); g.Begin(g.tables[0].epoch + 1) },
			"reload": func(t *rapid.T) {
				if err := g.Reload(); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				elements := 0
				for _, k := range []string{"", "a", "b"} {
					keyed(g, k)
					var got []string
					for i, v := range l.All() {
						if at, ok := l.At(i); !ok || at != v {
							t.Fatalf("At(%d) is %q, All gives %q", i, at, v)
						}
						got = append(got, v)
					}
					if l.Len() != len(model[k]) || !slices.Equal(got, model[k]) {
						t.Fatalf("list of %q is %q, want %q", k, got, model[k])
					}
					if _, ok := l.At(l.Len()); ok {
						t.Fatal("an element behind the end")
					}
					elements += len(got)
				}
				if l.table.Len() != elements {
					t.Fatalf("%d elements are kept, %d are there", l.table.Len(), elements)
				}
			},
		})
	})
}

func TestTypesThatHoldPointersAreRefusedWithTheField(t *testing.T) {
	type driver struct{ name *string }
	type car struct {
		id     int64
		driver driver
	}
	type generic struct{ X [3]struct{ M map[string]int } }
	g := NewGroup()
	check := func(err error, want string) {
		t.Helper()
		var typed *TypeError
		if !errors.As(err, &typed) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	value := func(_ any, err error) error { return err }
	check(value(NewValue[car](g, "cars")),
		`state "cars": field car.driver.name is a pointer: store the value itself, or the key of another state`)
	check(value(NewValue[*int](g, "p")), `state "p": field value is a pointer: store the value itself, or the key of another state`)
	check(value(NewList[generic](g, "l")), `state "l": field generic.X[0].M is a map: use a state.Map`)
	check(value(NewMap[string, []int](g, "m")), `state "m": field value is a slice: use a state.List, a fixed array, or []byte`)
	check(value(NewValue[any](g, "a")), `state "a": field value is an interface: store a concrete type`)
	check(value(NewValue[func()](g, "f")), `state "f": field value is a func, which cannot be kept in state`)
	check(value(NewValue[chan int](g, "c")), `state "c": field value is a channel, which cannot be kept in state`)
	check(value(NewValue[uintptr](g, "u")),
		`state "u": field value is a uintptr, which means nothing in another process: store an integer`)
	check(value(NewValue[complex128](g, "z")), `state "z": field value is a complex number, which is not supported: store two floats`)
	check(value(NewValue[time.Time](g, "t")),
		`state "t": field value is a time.Time, which holds a pointer: store UnixMilli() as an int64`)
	check(value(NewMap[any, int](g, "k")), `state "k": key type interface {}: field value is an interface: store a concrete type`)
	check(value(NewValue[[300]int](g, "w")),
		`state "w": field value[256] is the 257th: a type may have 256 basic fields, counting each element of an array; use a state.List or state.Map`)
	if len(g.tables) != 0 {
		t.Errorf("%d tables were registered all the same", len(g.tables))
	}
	if _, err := NewValue[time.Duration](g, "d"); err != nil {
		t.Errorf("a duration is an integer: %v", err)
	}
}

func TestNamesAreUniqueAndPlain(t *testing.T) {
	g := NewGroup()
	must[*Value[int]](t)(NewValue[int](g, "n"))
	for _, name := range []string{"n", "", "a#b", strings.Repeat("x", 256)} {
		if _, err := NewValue[int](g, name); err == nil {
			t.Errorf("name %.20q is accepted", name)
		}
	}
	if _, err := g.Register("t", []batch.Type{{}}); err == nil {
		t.Error("a column without a type is accepted")
	}
}

func TestStateWithoutACurrentKeyPanicsWithItsName(t *testing.T) {
	g := NewGroup()
	v := must[*Value[int]](t)(NewValue[int](g, "lonely"))
	keyed(g, "k")
	v.Set(1)
	g.ClearKey()
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, `"lonely"`) {
			t.Errorf("panic %q", p)
		}
	}()
	v.Get()
}

func TestTypedAccessAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("allocations are not counted under the race detector")
	}
	type stats struct {
		N    int64
		Mean float64
		Last [3]int32
	}
	g := NewGroup()
	v := must[*Value[stats]](t)(NewValue[stats](g, "v"))
	m := must[*Map[int64, stats]](t)(NewMap[int64, stats](g, "m"))
	l := must[*List[stats]](t)(NewList[stats](g, "l"))
	g.Begin(1)
	key := bigKey(5)
	hash := batch.HashKey(key)
	g.SetKey(hash, key)
	for i := range int64(20) {
		m.Put(i, stats{N: i})
		l.Append(stats{N: i})
	}
	sum := int64(0)
	run := func() {
		g.SetKey(hash, key)
		s, _ := v.Get()
		s.N++
		v.Set(s)
		v.Update(func(s *stats) { s.N++ })
		m.Put(3, s)
		m.Update(4, func(s *stats) { s.N++ })
		s, _ = m.Get(4)
		s, _ = l.At(2)
		l.Set(3, s)
		sum += int64(m.Len() + l.Len())
		for k, s := range m.All() {
			sum += k + s.N
		}
		for i, s := range l.All() {
			sum += int64(i) + s.N
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

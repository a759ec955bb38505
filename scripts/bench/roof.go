package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	roofBatchRows = 10_000
	roofGroups    = 256
)

func benchSchema() *batch.Schema {
	return batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt.AsNotNull()}, batch.Field{Name: "a", Type: batch.TypeBigInt.AsNotNull()},
		batch.Field{Name: "b", Type: batch.TypeBigInt.AsNotNull()})
}

// measureRoof sends rows rows with keys keys from one goroutine to another over loopback TCP.
func measureRoof(rows, keys int) (measurement, error) {
	tcp := transport.NewTCP(transport.Options{})
	l, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		return measurement{}, err
	}
	defer l.Close()
	out, err := tcp.Dial(context.Background(), l.Addr())
	if err != nil {
		return measurement{}, err
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		return measurement{}, err
	}
	defer in.Close()
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- roofReceive(in, rows, keys) }()
	if err := roofSend(out, rows, keys); err != nil {
		return measurement{}, err
	}
	if err := <-done; err != nil {
		return measurement{}, err
	}
	return measurement{Rows: int64(rows), Seconds: time.Since(start).Seconds()}, nil
}

func roofSend(conn transport.Conn, rows, keys int) error {
	schema := benchSchema()
	b, sorted := batch.New(schema), &dataplane.Rows{Batch: batch.New(schema)}
	var enc dataplane.FrameEncoder
	var hashes []uint64
	var scratch, buf []byte
	order := make([]uint32, roofBatchRows)
	var counts [roofGroups + 1]uint32
	seed := uint64(1)
	all := topology.Range{From: 0, To: roofGroups}
	for sent := 0; sent < rows; sent += roofBatchRows {
		b.Reset()
		for i := range b.Cols {
			b.Cols[i].Resize(roofBatchRows)
		}
		for i := range roofBatchRows {
			seed += 0x9E3779B97F4A7C15
			h := batch.Mix(seed, 1)
			b.Cols[0].Int64s[i] = int64(h % uint64(keys))
			b.Cols[1].Int64s[i] = int64(h >> 40)
			b.Cols[2].Int64s[i] = int64(batch.Mix(seed, 2) >> 32)
		}
		b.SetLen(roofBatchRows)
		hashes, scratch = batch.AppendKeyHashes(hashes[:0], b, []int{0}, 0, roofBatchRows, scratch)
		clear(counts[:])
		for _, h := range hashes {
			counts[h%roofGroups+1]++
		}
		sorted.Reset()
		sorted.Offsets = append(sorted.Offsets, 0)
		for g := range roofGroups {
			if counts[g+1] > 0 {
				sorted.Groups = append(sorted.Groups, topology.KeyGroup(g))
				sorted.Offsets = append(sorted.Offsets, counts[g]+counts[g+1])
			}
			counts[g+1] += counts[g]
		}
		for i, h := range hashes {
			g := h % roofGroups
			order[counts[g]] = uint32(i)
			counts[g]++
		}
		sorted.Batch.AppendGather(b, order)
		e := topology.Epoch(sent/roofBatchRows + 1)
		h := dataplane.FrameHeader{Producer: all, Consumer: all, First: e, Last: e}
		var err error
		if buf, err = enc.AppendFrame(buf[:0], &dataplane.Frame{Header: h, Rows: sorted}, 0, roofBatchRows); err != nil {
			return err
		}
		if err := conn.Send(buf); err != nil {
			return err
		}
		if err := conn.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func roofReceive(conn transport.Conn, rows, keys int) error {
	counts := make(map[int64]int64, keys)
	var dec dataplane.FrameDecoder
	f := dataplane.Frame{Rows: &dataplane.Rows{Batch: batch.New(benchSchema())}}
	for got := 0; got < rows; {
		msg, err := conn.Receive()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		for len(msg) > 0 {
			var m dataplane.Message
			if m, msg, err = dataplane.Next(msg); err != nil {
				return err
			}
			if err := dec.Decode(m.Payload, &f); err != nil {
				return err
			}
			for _, k := range f.Rows.Batch.Cols[0].Int64s {
				counts[k]++
			}
			got += f.Rows.Batch.Len()
		}
	}
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	if total != int64(rows) {
		return errors.New("the roof lost rows")
	}
	return nil
}

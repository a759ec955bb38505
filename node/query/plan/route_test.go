package plan

import (
	"os"
	"slices"
	"testing"
)

func TestTheKeyOfAStageIsFoundInTheColumnsOfItsTables(t *testing.T) {
	tables, err := os.ReadFile("testdata/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	const two = "CREATE TABLE mat (a BIGINT, b BIGINT, n BIGINT NOT NULL, PRIMARY KEY (a, b) NOT ENFORCED) WITH ('connector' = 'mat');\n"
	for _, c := range []struct {
		name, sql string
		want      []int
	}{
		{"aggregate", two + "INSERT INTO mat SELECT auction, bidder, COUNT(*) FROM bids GROUP BY auction, bidder;", []int{0, 1}},
		{"in another order", two + "INSERT INTO mat SELECT auction, bidder, COUNT(*) FROM bids GROUP BY bidder, auction;", []int{1, 0}},
		{"of two branches", two + `INSERT INTO mat SELECT auction, bidder, COUNT(*) FROM (
			SELECT auction, bidder FROM bids UNION ALL SELECT CAST(n AS BIGINT), n FROM words) AS u GROUP BY auction, bidder;`, []int{0, 1}},
		{"part of the primary key", two + "INSERT INTO mat SELECT auction, MAX(bidder), COUNT(*) FROM bids GROUP BY auction;", []int{0}},
		{"a key that is changed on its way", two + "INSERT INTO mat SELECT auction + 1, bidder, COUNT(*) FROM bids GROUP BY auction, bidder;", []int{0, 1}},
		{"a stage of its own", two + "INSERT INTO mat SELECT auction, bidder, 1 FROM bids;", []int{0, 1}},
		{"one key group", two + "INSERT INTO mat SELECT MAX(auction), MAX(bidder), COUNT(*) FROM bids;", nil},
		{"a custom operator", "CREATE TABLE mat (a BIGINT, b BIGINT, s TIMESTAMP(3), n BIGINT, PRIMARY KEY (a, b) NOT ENFORCED) WITH ('connector' = 'mat');\n" +
			"INSERT INTO mat SELECT s.auction, s.bidder, started, events FROM sessions(TABLE bids PARTITION BY (bidder, auction), gap => INTERVAL '30' SECOND, 'x', CAST(NULL AS INT)) AS s;", []int{1, 0}},
	} {
		p, err := Compile(string(tables)+c.sql, testCatalog(), Options{})
		if err != nil {
			t.Fatal(c.name, err)
		}
		for _, st := range p.Stages {
			for i, op := range st.Ops {
				if op.Sink == nil {
					continue
				}
				if got := p.KeyColumns(st, i, p.Tables[op.Sink.Table].Primary); !slices.Equal(got, c.want) {
					t.Errorf("%s: %v, not %v\n%s", c.name, got, c.want, p.Explain())
				}
				if got := p.KeyColumns(st, i, []int{len(op.Schema.Fields) - 1}); got != nil {
					t.Errorf("%s: without columns of the key it is found in %v", c.name, got)
				}
			}
		}
	}
}

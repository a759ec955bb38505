// Command plots draws the charts of a benchmark: for each chart that is described in DIR/charts.json it reads the CSV files of DIR and
// writes NAME.svg and NAME.png beside them.
//
//	plots DIR
//
// A chart is panels one above the other that share their x axis; a series is two columns of a file, of the rows in which other columns
// have given values. The same files give the same charts, byte for byte.
package main

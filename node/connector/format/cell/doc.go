// Package cell is what the formats that read text share: appending one value of any scalar type from its text, encoding it as text, and taking
// back the rows of a record that turned out to be wrong. It knows neither records nor files.
package cell

// Package spelling finds the name that somebody meant who wrote another: it is behind every "did you mean" of the SQL, of options and of
// the command line. Hints alone depend on it, never what a query does.
package spelling

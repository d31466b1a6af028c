package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// columnKind decides how a JSON value becomes the column's text.
type columnKind int

const (
	// plainColumn takes strings without their quotes.
	plainColumn columnKind = iota
	// jsonColumn takes JSON as it stands.
	jsonColumn
	// arrayColumn takes JSON arrays as arrays.
	arrayColumn
)

// column is a column to write.
type column struct {
	name, field string
	// typ is the type's name in a cast, without a length: a cast to a length would cut texts.
	typ  string
	kind columnKind
}

// stored is what the database says of a column.
type stored struct {
	name, typ, base, category     string
	notNull, hasDefault, computed bool
}

// describe looks the table up, and returns the columns to write. An error says what does not fit.
func describe(ctx context.Context, c *connection, o *Options) ([]column, error) {
	what := "table " + o.Table
	found, err := c.query(ctx, `SELECT c.oid, c.relkind, c.relpersistence, current_user, current_database(),
		has_any_column_privilege(c.oid, 'INSERT'), has_any_column_privilege(c.oid, 'UPDATE') AND has_any_column_privilege(c.oid, 'SELECT')
		FROM pg_class c WHERE c.oid = to_regclass($1)`, quoted(o.Table))
	if err != nil {
		return nil, o.explain(what, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: the database has no such table: create it, or correct the option table; names are spelled as the database stores them", what)
	}
	oid, kind, persistence, user, database, inserts, updates := found[0][0], found[0][1], found[0][2], found[0][3], found[0][4], found[0][5], found[0][6]
	switch {
	case kind != "r" && kind != "p":
		return nil, fmt.Errorf("%s: it is a view or another object that is no table: name a table", what)
	case persistence == "u" && o.Mode == ExactlyOnce:
		return nil, fmt.Errorf("%s: it is UNLOGGED, so a crash of the server empties it: ALTER TABLE %s SET LOGGED", what, quoted(o.Table))
	case inserts != "t":
		return nil, fmt.Errorf("%s: user %s may not write it: GRANT INSERT ON %s TO %s", what, user, quoted(o.Table), quotedName(user))
	case updates != "t" && o.Mode == Upsert:
		return nil, fmt.Errorf("%s: user %s may not replace rows: GRANT SELECT, INSERT, UPDATE ON %s TO %s", what, user, quoted(o.Table), quotedName(user))
	}
	all, err := storedColumns(ctx, c, oid)
	if err != nil {
		return nil, o.explain(what, err)
	}
	columns, err := chosen(o, what+" of database "+database, all)
	if err != nil || o.Mode != Upsert {
		return columns, err
	}
	return columns, uniqueKey(ctx, c, o, oid)
}

func storedColumns(ctx context.Context, c *connection, oid string) ([]stored, error) {
	rows, err := c.query(ctx, `SELECT a.attname, format_type(a.atttypid, -1), coalesce(b.typname, t.typname), t.typcategory,
		a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated <> '' OR a.attidentity = 'a'
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, oid)
	all := make([]stored, len(rows))
	for i, r := range rows {
		all[i] = stored{name: r[0], typ: r[1], base: r[2], category: r[3], notNull: r[4] == "t", hasDefault: r[5] == "t", computed: r[6] == "t"}
	}
	return all, err
}

// chosen returns the columns to write.
func chosen(o *Options, what string, all []stored) ([]column, error) {
	var columns []column
	for _, want := range o.Columns {
		i := slices.IndexFunc(all, func(s stored) bool { return s.name == want.Name })
		if i < 0 {
			return nil, fmt.Errorf("%s: it has no column %q, only %s: add the column, or correct the option columns", what, want.Name, listed(all))
		}
		if all[i].computed {
			return nil, fmt.Errorf("%s: the server computes column %q: leave it out of the option columns", what, want.Name)
		}
		column := column{name: want.Name, field: want.Field, typ: all[i].typ}
		switch {
		case all[i].base == "json" || all[i].base == "jsonb":
			column.kind = jsonColumn
		case all[i].category == "A":
			column.kind = arrayColumn
		}
		columns = append(columns, column)
	}
	for _, s := range all {
		if s.notNull && !s.hasDefault && !s.computed && !slices.Contains(o.Columns.names(), s.name) {
			return nil, fmt.Errorf("%s: column %q may not be NULL and has no default, but the option columns leaves it out: add it, or give it a default", what, s.name)
		}
	}
	return columns, nil
}

func listed(all []stored) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = fmt.Sprintf("%q", s.name)
	}
	return strings.Join(names, ", ")
}

// uniqueKey refuses a key without a unique index: ON CONFLICT needs one.
func uniqueKey(ctx context.Context, c *connection, o *Options, oid string) error {
	rows, err := c.query(ctx, `SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname) FROM pg_index i JOIN pg_attribute a
		ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
		WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid`, oid)
	if err != nil {
		return o.explain("table "+o.Table, err)
	}
	sorted := slices.Sorted(slices.Values(o.Key))
	want, err := c.query(ctx, `SELECT string_agg(quote_ident(k), ', ' ORDER BY k::name) FROM unnest($1::text[]) k`, textArray(sorted))
	if err != nil {
		return o.explain("table "+o.Table, err)
	}
	for _, r := range rows {
		if r[0] == want[0][0] {
			return nil
		}
	}
	return fmt.Errorf("table %s: no unique index has exactly the columns of key: CREATE UNIQUE INDEX ON %s (%s)", o.Table, quoted(o.Table), quotedNames(o.Key))
}

// textArray returns texts as an array of PostgreSQL.
func textArray(texts []string) []byte {
	array := []byte{'{'}
	for i, text := range texts {
		if i > 0 {
			array = append(array, ',')
		}
		array = appendElement(array, []byte(text))
	}
	return append(array, '}')
}

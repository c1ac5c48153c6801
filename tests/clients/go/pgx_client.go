package main

// pgx: prepared and binary, unless the simple protocol is asked for.

import (
	"errors"
	"os"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
)

type pgxClient struct {
	connection *pgx.Conn
	tx         pgx.Tx
}

func (c *pgxClient) driver() string { return "pgx " + os.Getenv("GO_PGX_VERSION") }

func (c *pgxClient) begin() pgx.Tx {
	if c.tx == nil {
		var err error
		c.tx, err = c.connection.Begin(background)
		check(err)
	}
	return c.tx
}

func (c *pgxClient) lock(query string, arguments ...any) (locked bool) {
	check(c.begin().QueryRow(background, query, arguments...).Scan(&locked))
	return
}

func (c *pgxClient) keys(parts []string) []any {
	var key, simple int64
	check(c.connection.QueryRow(background, "SELECT advisory_key($1)", parts).Scan(&key))
	// Here the value is written into the statement, for which a slice needs to be told its type.
	var array pgtype.TextArray
	check(array.Set(parts))
	check(c.connection.QueryRow(background, "SELECT advisory_key($1)", pgx.QuerySimpleProtocol(true), array).Scan(&simple))
	return []any{key, simple}
}

func (c *pgxClient) try(parts []string) bool {
	return c.lock("SELECT try_lock_keys($1)", parts)
}

func (c *pgxClient) integer(key int64) bool {
	return c.lock("SELECT pg_try_advisory_xact_lock($1)", key)
}

func (c *pgxClient) wait(milliseconds int, parts []string) bool {
	return c.lock("SELECT try_lock_keys($1, timeout => $2)", parts, time.Duration(milliseconds)*time.Millisecond)
}

func (c *pgxClient) slot(slots int, parts []string) bool {
	return c.lock("SELECT try_lock_slot($1, $2)", parts, slots)
}

func (c *pgxClient) claim(wanted int, names [][]string) (rows []int32) {
	query := "SELECT claim_keys($1, wanted => $2)"
	check(c.begin().QueryRow(background, query, names, wanted).Scan(&rows))
	return
}

func (c *pgxClient) acquire(parts []string) {
	_, err := c.begin().Exec(background, "CALL acquire_keys($1)", parts)
	check(err)
}

func (c *pgxClient) fail(parts []string) string {
	_, err := c.begin().Exec(background, "SELECT lock_keys($1, timeout => '0')", parts)
	check(c.tx.Rollback(background))
	c.tx = nil
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		panic(err)
	}
	return refused.Code
}

func (c *pgxClient) commit() {
	check(c.tx.Commit(background))
	c.tx = nil
}

func main() {
	connection, err := pgx.Connect(background, "sslmode=disable")
	check(err)
	serve(&pgxClient{connection: connection})
}

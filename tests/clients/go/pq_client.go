package main

// database/sql with lib/pq.

import (
	"database/sql"
	"fmt"
	"os"

	"github.com/lib/pq"
)

type pqClient struct {
	connection *sql.Conn
	askKey     *sql.Stmt
	tx         *sql.Tx
}

func (c *pqClient) driver() string { return "lib/pq " + os.Getenv("GO_PQ_VERSION") }

func (c *pqClient) begin() *sql.Tx {
	if c.tx == nil {
		var err error
		c.tx, err = c.connection.BeginTx(background, nil)
		check(err)
	}
	return c.tx
}

func (c *pqClient) lock(query string, arguments ...any) (locked bool) {
	check(c.begin().QueryRow(query, arguments...).Scan(&locked))
	return
}

func (c *pqClient) keys(parts []string) []any {
	var key, prepared int64
	check(c.connection.QueryRowContext(background, "SELECT advisory_key($1)", pq.Array(parts)).Scan(&key))
	check(c.askKey.QueryRow(pq.Array(parts)).Scan(&prepared))
	return []any{key, prepared}
}

func (c *pqClient) try(parts []string) bool {
	return c.lock("SELECT try_lock_keys($1)", pq.Array(parts))
}

func (c *pqClient) integer(key int64) bool {
	return c.lock("SELECT pg_try_advisory_xact_lock($1)", key)
}

func (c *pqClient) wait(milliseconds int, parts []string) bool {
	return c.lock("SELECT try_lock_keys($1, timeout => $2)", pq.Array(parts), fmt.Sprintf("%dms", milliseconds))
}

func (c *pqClient) slot(slots int, parts []string) bool {
	return c.lock("SELECT try_lock_slot($1, $2)", pq.Array(parts), slots)
}

func (c *pqClient) claim(wanted int, names [][]string) (rows []int32) {
	query := "SELECT claim_keys($1, wanted => $2)"
	check(c.begin().QueryRow(query, pq.Array(names), wanted).Scan(pq.Array(&rows)))
	return
}

func (c *pqClient) acquire(parts []string) {
	_, err := c.begin().Exec("CALL acquire_keys($1)", pq.Array(parts))
	check(err)
}

func (c *pqClient) fail(parts []string) string {
	_, err := c.begin().Exec("SELECT lock_keys($1, timeout => '0')", pq.Array(parts))
	check(c.tx.Rollback())
	c.tx = nil
	return string(err.(*pq.Error).Code)
}

func (c *pqClient) commit() {
	check(c.tx.Commit())
	c.tx = nil
}

func main() {
	database, err := sql.Open("postgres", "sslmode=disable")
	check(err)
	connection, err := database.Conn(background)
	check(err)
	askKey, err := connection.PrepareContext(background, "SELECT advisory_key($1)")
	check(err)
	serve(&pqClient{connection: connection, askKey: askKey})
}

// Go with database/sql and lib/pq.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/lib/pq"
)

func ownKey(parts []string) int64 {
	digest := sha256.Sum256([]byte(strings.Join(parts, "-")))
	return int64(binary.BigEndian.Uint64(digest[:8]))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

type client struct {
	connection *sql.Conn
	askKey     *sql.Stmt
	tx         *sql.Tx
}

func (c *client) begin() *sql.Tx {
	if c.tx == nil {
		var err error
		c.tx, err = c.connection.BeginTx(context.Background(), nil)
		check(err)
	}
	return c.tx
}

func (c *client) try(query string, arguments ...any) (locked bool) {
	check(c.begin().QueryRow(query, arguments...).Scan(&locked))
	return
}

func (c *client) answer(command string, words []string) any {
	milliseconds := ""
	if command == "wait" {
		milliseconds, words = words[0]+"ms", words[1:]
	}
	parts := []string{}
	for _, word := range words {
		if word == "-" {
			word = ""
		}
		part, err := hex.DecodeString(word)
		check(err)
		parts = append(parts, string(part))
	}
	switch command {
	case "driver":
		return "lib/pq " + os.Getenv("GO_PQ_VERSION")
	case "key":
		var key, prepared int64
		check(c.connection.QueryRowContext(context.Background(), "SELECT advisory_key($1)", pq.Array(parts)).Scan(&key))
		check(c.askKey.QueryRow(pq.Array(parts)).Scan(&prepared))
		return fmt.Sprint(ownKey(parts), key, prepared)
	case "try":
		return c.try("SELECT try_lock_keys($1)", pq.Array(parts))
	case "integer":
		return c.try("SELECT pg_try_advisory_xact_lock($1)", ownKey(parts))
	case "wait":
		return c.try("SELECT try_lock_keys($1, timeout => $2)", pq.Array(parts), milliseconds)
	case "fail":
		_, err := c.begin().Exec("SELECT lock_keys($1, timeout => '0')", pq.Array(parts))
		check(c.tx.Rollback())
		c.tx = nil
		return err.(*pq.Error).Code
	case "commit":
		check(c.tx.Commit())
		c.tx = nil
		return "ok"
	}
	panic("unknown command " + command)
}

func main() {
	database, err := sql.Open("postgres", "sslmode=disable")
	check(err)
	connection, err := database.Conn(context.Background())
	check(err)
	askKey, err := connection.PrepareContext(context.Background(), "SELECT advisory_key($1)")
	check(err)
	c := client{connection: connection, askKey: askKey}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<23)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		fmt.Println(c.answer(words[0], words[1:]))
	}
}

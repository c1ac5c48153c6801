package main

// The protocol of the client programs, for those in Go: see ../README.md.

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

var background = context.Background()

func ownKey(parts []string) int64 {
	digest := sha256.Sum256([]byte(strings.Join(parts, "-")))
	return int64(binary.BigEndian.Uint64(digest[:8]))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

type client interface {
	driver() string
	keys(parts []string) []any
	try(parts []string) bool
	integer(key int64) bool
	wait(milliseconds string, parts []string) bool
	fail(parts []string) string
	commit()
}

func answer(c client, command string, words []string) any {
	milliseconds := ""
	if command == "wait" {
		milliseconds, words = words[0], words[1:]
	}
	parts := []string{}
	for _, word := range words {
		part, err := hex.DecodeString(strings.TrimPrefix(word, "-"))
		check(err)
		parts = append(parts, string(part))
	}
	switch command {
	case "driver":
		return c.driver()
	case "key":
		return strings.Trim(fmt.Sprint(append(c.keys(parts), ownKey(parts))), "[]")
	case "try":
		return c.try(parts)
	case "integer":
		return c.integer(ownKey(parts))
	case "wait":
		return c.wait(milliseconds, parts)
	case "fail":
		return c.fail(parts)
	case "commit":
		c.commit()
		return "ok"
	}
	panic("unknown command " + command)
}

func serve(c client) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<23)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		fmt.Println(answer(c, words[0], words[1:]))
	}
}

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
	"strconv"
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
	wait(milliseconds int, parts []string) bool
	slot(slots int, parts []string) bool
	claim(wanted int, names [][]string) []int32
	acquire(parts []string)
	fail(parts []string) string
	commit()
}

func answer(c client, command string, words []string) any {
	number := 0
	switch command {
	case "wait", "slot", "claim":
		var err error
		number, err = strconv.Atoi(words[0])
		check(err)
		words = words[1:]
	}
	parts := []string{}
	names := [][]string{}
	for _, word := range words {
		part, err := hex.DecodeString(strings.TrimPrefix(word, "-"))
		check(err)
		parts = append(parts, string(part))
		names = append(names, []string{string(part)})
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
		return c.wait(number, parts)
	case "slot":
		return c.slot(number, parts)
	case "claim":
		rows := strings.Trim(fmt.Sprint(c.claim(number, names)), "[]")
		return "{" + strings.ReplaceAll(rows, " ", ",") + "}"
	case "acquire":
		c.acquire(parts)
		return "ok"
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

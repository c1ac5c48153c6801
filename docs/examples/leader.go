// Leader election by a lease: of all processes that run this, one at a time works, and whatever it writes carries its token.
//
//	PGHOST=… PGDATABASE=… ./leader -ttl 15s http://127.0.0.1:8000/
//
// With pgx 4. Why it does what it does stands in docs/leader-election.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
)

var key = []string{"leader", "importer"}

// Lease is kept by a goroutine of its own. Whoever works asks for the token before each step.
type Lease struct {
	key pgtype.TextArray
	ttl time.Duration

	mutex sync.Mutex
	token int64
	ends  time.Time // by the monotonic clock, as time.Now has it

	// Of the goroutine alone.
	holder  string
	inDoubt bool
	warning string
}

// Token is that of the lease, while it is ours for at least another fifth of the ttl; else 0.
func (l *Lease) Token() int64 {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if time.Now().Before(l.ends) {
		return l.token
	}
	return 0
}

// Keep takes the lease and renews it until the context ends, when nothing works any more; then it is given back.
func (l *Lease) Keep(leave context.Context) {
	l.beginCandidacy()
	for leave.Err() == nil {
		if err := l.connected(leave); err != nil {
			log.Print(err)
			l.inDoubt = true
			pause(leave, l.ttl/10)
		}
	}
}

func (l *Lease) connected(leave context.Context) error {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return err
	}
	config.PreferSimpleProtocol = true // prepared statements do not go through every pooler
	l.warning = ""
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { l.warning = notice.Message }
	inTime, cancel := context.WithTimeout(context.Background(), l.ttl/3)
	defer cancel()
	db, err := pgx.ConnectConfig(inTime, config)
	if err != nil {
		return err
	}
	defer func() {
		inTime, cancel := context.WithTimeout(context.Background(), l.ttl/3)
		defer cancel()
		db.Close(inTime)
	}()
	for leave.Err() == nil {
		if err := l.beat(db); err != nil {
			return err
		}
		pause(leave, l.ttl/3)
	}
	if token := l.Token(); token != 0 {
		var released bool
		return l.ask(db, &released, "SELECT advisory_leases.release_lease_key($1, $2)", l.key, token)
	}
	return nil
}

func (l *Lease) beat(db *pgx.Conn) (err error) {
	sent, token, granted := time.Now(), l.Token(), false
	if token == 0 {
		token, err = l.take(db)
		granted = token != 0
	} else {
		granted, err = l.renew(db, token)
	}
	if err != nil {
		return err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if !granted {
		l.ends = time.Time{}
	} else if token != l.token || time.Now().Before(l.ends) { // a token that has ended for us stays so
		l.token, l.ends = token, sent.Add(l.ttl*8/10)
	}
	return nil
}

func (l *Lease) take(db *pgx.Conn) (int64, error) {
	var token *int64
	if l.inDoubt { // a lost answer may have been a token
		err := l.ask(db, &token, "SELECT token FROM advisory_leases.leases WHERE holder = $1", l.holder)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return 0, err
		}
		if token != nil {
			renewed, err := l.renew(db, *token)
			if err != nil {
				return 0, err
			}
			if !renewed {
				token = nil
			}
		}
	}
	if token == nil {
		if err := l.ask(db, &token, "SELECT advisory_leases.try_lease_key($1, $2, $3)", l.key, l.ttl.String(), l.holder); err != nil || token == nil {
			return 0, err
		}
	}
	l.beginCandidacy()
	return *token, nil
}

func (l *Lease) renew(db *pgx.Conn, token int64) (renewed bool, err error) {
	err = l.ask(db, &renewed, "SELECT advisory_leases.renew_lease_key($1, $2, $3)", l.key, token, l.ttl.String())
	return
}

// beginCandidacy: the next token is for a holder that nobody has been before, this process included.
func (l *Lease) beginCandidacy() {
	host, _ := os.Hostname()
	l.holder, l.inDoubt = fmt.Sprintf("%s %d %016x", host, os.Getpid(), rand.Uint64()), false
}

// ask has the answer, committed; an error if it does not come in time.
func (l *Lease) ask(db *pgx.Conn, answer any, statement string, arguments ...any) error {
	inTime, cancel := context.WithTimeout(context.Background(), l.ttl/3)
	defer cancel()
	if err := db.QueryRow(inTime, statement, arguments...).Scan(answer); err != nil {
		return err
	}
	if l.warning != "" { // committed here, but perhaps not on the standby
		return errors.New(l.warning)
	}
	return nil
}

func pause(leave context.Context, duration time.Duration) {
	select {
	case <-leave.Done():
	case <-time.After(duration):
	}
}

// work is one step: a write that the outside system refuses if it knows of a greater token. It fits into a fifth of the ttl.
func work(url string, token int64, patience time.Duration) {
	host, _ := os.Hostname()
	inTime, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(inTime, http.MethodPut, url, strings.NewReader(fmt.Sprintf("%s %d", host, os.Getpid())))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Fencing-Token", strconv.FormatInt(token, 10))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Print(err)
		return
	}
	response.Body.Close()
	if response.StatusCode == http.StatusPreconditionFailed {
		fmt.Println("refused", token)
	}
}

func main() {
	ttl := flag.Duration("ttl", 15*time.Second, "of the lease")
	flag.Parse()
	rand.Seed(time.Now().UnixNano() ^ int64(os.Getpid())<<32)
	leave, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	lease := &Lease{ttl: *ttl}
	if err := lease.key.Set(key); err != nil {
		log.Fatal(err)
	}
	keeping, giveBack := context.WithCancel(context.Background())
	kept := make(chan struct{})
	go func() {
		lease.Keep(keeping)
		close(kept)
	}()
	var leads int64
	for leave.Err() == nil {
		token := lease.Token()
		if token != leads && token != 0 {
			fmt.Println("leads", token)
		} else if token != leads {
			fmt.Println("stepped down", leads)
		}
		leads = token
		if token != 0 {
			work(flag.Arg(0), token, *ttl/5)
		}
		pause(leave, *ttl/50)
	}
	giveBack() // nothing works any more
	<-kept
}

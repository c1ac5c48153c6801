//! Random arguments for every function: only the SQLSTATEs of the contract may come back, nothing stays locked, and
//! the server lives.

use crate::report::Report;
use crate::server::Server;
use crate::session::{Session, sqlstate};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// The errors that arguments may lead to: those of this extension, and Postgres' own about values and types
/// (malformed arrays and intervals, intervals out of range, no such function or cast, dimensions that differ).
const CONTRACT: [&str; 14] = [
    "22004", "22023", "2202E", "22021", "22P05", "54000", "55P03", "22P02", "22007", "22008",
    "22015", "42883", "42846", "57014",
];

const ARRAYS: [&str; 30] = [
    "NULL",
    "'{}'",
    "'{a}'",
    "'{NULL}'",
    "'{a,NULL}'",
    "'{\"\"}'",
    "'{\"\",\"\"}'",
    "'{{a,b},{c,d}}'",
    "'{{a,NULL},{c,d}}'",
    "'{{{a}}}'",
    "'{{{{{{a}}}}}}'",
    "'[5:6]={a,b}'",
    "'[-3:-2][7:8]={{a,b},{c,d}}'",
    "'{a'",
    "'a'",
    "''",
    "'{{a},{b,c}}'",
    "ARRAY[]::text[]",
    "ARRAY['a', NULL]",
    "ARRAY[repeat('x', 100000)]",
    "ARRAY[chr(1114111), 'é']",
    "ARRAY['a']::varchar[]",
    "ARRAY['a ']::char(5)[]",
    "ARRAY['a']::name[]",
    "array_fill('x'::text, ARRAY[40, 3])",
    "array_fill('x'::text, ARRAY[2000, 1])",
    "(SELECT array_agg(i::text) FROM generate_series(1, 500) AS i)",
    "string_to_array('a-b-c', '-')",
    "(ARRAY['a','b','c'])[2:3]",
    "array_append(ARRAY['a'], 'b')",
];
const TIMEOUTS: [&str; 16] = [
    "'0'",
    "NULL",
    "'1 us'",
    "'2ms'",
    "'-1s'",
    "'-1 us'",
    "'infinity'",
    "'-infinity'",
    "'178000000 years'",
    "'1 mon -31 days'",
    "'1 day -24:00:01'",
    "'x'",
    "''",
    "interval '0.4 ms'",
    "'P1Y'",
    "make_interval(secs => 0.001)",
];
const NUMBERS: [&str; 8] = ["1", "2", "2147483647", "0", "-1", "NULL", "'x'", "2147483648"];
const FLAGS: [&str; 5] = ["true", "false", "NULL", "'maybe'", "'t'"];

/// So many calls, on one session.
pub async fn run(server: &Server, report: &Report, calls: u64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let session = Session::new(server).await?;
    let (holder, _) = server.connect_patiently().await?;
    holder
        .batch_execute("SELECT lock_keys('{{a,b},{c,d}}', session => true); SET lock_timeout = 0")
        .await?;
    session
        .client
        .batch_execute("SET lock_timeout = '5ms'; SET statement_timeout = '20ms'")
        .await?;
    for _ in 0..calls {
        let statement = statement(&mut random);
        match session.client.query(&statement, &[]).await {
            Ok(_) => report.count("fuzzed calls that ran", 1),
            Err(error) => {
                let code = sqlstate(&error);
                report.count(&format!("fuzzed calls: {code}"), 1);
                report.expect(CONTRACT.contains(&code), "error codes", || {
                    format!("{code} from {statement}")
                });
                if session.client.is_closed() {
                    report.finding("the server lives", format!("it did not survive {statement}"));
                    return Ok(());
                }
            }
        }
        session.must("SELECT pg_advisory_unlock_all()").await?;
    }
    session.must("RESET statement_timeout").await?;
    session.check(report, "fuzzing").await?;
    Ok(())
}

fn statement(random: &mut StdRng) -> String {
    let mut pick = |from: &[&'static str]| *from.choose(random).expect("a choice");
    let array = pick(&ARRAYS);
    let flag = pick(&FLAGS);
    match pick(&[
        "advisory_key",
        "try_lock_keys",
        "lock_keys",
        "unlock_keys",
        "release_keys",
        "holds_keys",
        "keys_available",
        "acquire_keys",
        "claim_keys",
        "try_lock_slot",
        "lock_slot",
        "unlock_slot",
        "slots_held",
    ]) {
        function @ ("advisory_key" | "unlock_slot" | "slots_held") => {
            format!("SELECT {function}({array})")
        }
        // CALL takes no subquery.
        "acquire_keys" if array.contains("SELECT") => "SELECT advisory_key(NULL)".to_string(),
        "acquire_keys" => {
            format!("CALL acquire_keys({array}, {}, {flag}, {})", pick(&TIMEOUTS), pick(&FLAGS))
        }
        "claim_keys" => {
            format!("SELECT claim_keys({array}, {}, {flag}, {})", pick(&NUMBERS), pick(&FLAGS))
        }
        function @ ("try_lock_slot" | "lock_slot") => {
            let (slots, timeout) = (pick(&NUMBERS), pick(&TIMEOUTS));
            format!("SELECT {function}({array}, {slots}, {timeout}, {flag})")
        }
        function @ ("try_lock_keys" | "lock_keys") => {
            let timeout = pick(&TIMEOUTS);
            let session = pick(&FLAGS);
            match random.random_range(0..3) {
                0 => format!("SELECT {function}({array}, timeout => {timeout})"),
                1 => format!("SELECT {function}({array}, {timeout}, {flag}, {session})"),
                _ => format!("SELECT {function}({array}, session => {session}, shared => {flag})"),
            }
        }
        function => format!("SELECT {function}({array}, {flag})"),
    }
}

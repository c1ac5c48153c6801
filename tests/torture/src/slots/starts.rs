//! Sessions that try at the same instant on a free name: as many get in as there are slots.

use crate::report::Report;
use crate::server::Server;
use anyhow::Result;

/// Each session spins until the instant comes, which is the same for all of them.
const TOGETHER: &str = "
    CREATE OR REPLACE FUNCTION try_together(series text, slots int, tries int, first timestamptz, pause interval)
    RETURNS boolean[] LANGUAGE plpgsql AS $$
    DECLARE
      granted boolean[] := array_fill(false, ARRAY[tries]);
    BEGIN
      FOR i IN 1..tries LOOP
        WHILE clock_timestamp() < first + i * pause LOOP END LOOP;
        granted[i] := try_lock_slot(ARRAY['start', series, i::text], slots);
      END LOOP;
      RETURN granted;
    END $$";

/// So many starts for each number of slots. What was granted is held until all have tried.
pub async fn together(server: &Server, report: &Report, starts: usize) -> Result<()> {
    const TRIES: usize = 250;
    let (admin, _) = server.connect_patiently().await?;
    admin.batch_execute(TOGETHER).await?;
    for (sessions, slots) in [(2, 1), (2, 2), (4, 3)] {
        let mut clients = vec![];
        for _ in 0..sessions {
            clients.push(server.connect_patiently().await?.0);
        }
        for series in 0..starts.div_ceil(TRIES) {
            let first: String =
                admin.query_one("SELECT (clock_timestamp() + '5ms')::text", &[]).await?.get(0);
            let statement = format!(
                "SELECT try_together('{series}', {slots}, {TRIES}, '{first}', '{}us')",
                40 * sessions
            );
            let tries = clients.iter().map(|client| {
                let statement = &statement;
                async move {
                    client.batch_execute("BEGIN").await?;
                    anyhow::Ok(client.query_one(statement, &[]).await?.get::<_, Vec<bool>>(0))
                }
            });
            let granted = futures_util::future::try_join_all(tries).await?;
            for client in &clients {
                client.batch_execute("COMMIT").await?;
            }
            for number in 0..TRIES {
                let holders = granted.iter().filter(|granted| granted[number]).count();
                report.expect(holders >= slots, "no false refusal", || {
                    format!("{sessions} sessions at once, {slots} slots: {holders} got in")
                });
                report.expect(holders <= slots, "never too many", || {
                    format!("{sessions} sessions at once, {slots} slots: {holders} got in")
                });
            }
            report.count(&format!("slots: starts of {sessions} at once on {slots}"), TRIES as u64);
        }
    }
    Ok(())
}

//! Sessions that want a name at the same instant, a new one or one whose lease has ended: exactly one gets it.

use crate::leases::clock::now;
use crate::report::Report;
use crate::server::Server;
use anyhow::Result;
use futures_util::future::try_join_all;

/// Each session spins until the instant comes, which is the same for all of them, and commits each try.
const TOGETHER: &str = "
    CREATE PROCEDURE try_leases_together(series text, tries int, first timestamptz, pause interval, INOUT granted boolean[])
    LANGUAGE plpgsql AS $$
    BEGIN
      FOR i IN 1..tries LOOP
        WHILE clock_timestamp() < first + i * pause LOOP END LOOP;
        granted[i] := advisory_leases.try_lease_key(ARRAY['start', series, i::text], '1 day') IS NOT NULL;
        COMMIT;
      END LOOP;
    END $$";

const SESSIONS: usize = 3;
const TRIES: usize = 250;

pub async fn together(server: &Server, report: &Report, starts: usize) -> Result<()> {
    let (admin, _) = server.connect_patiently().await?;
    admin
        .batch_execute(&format!("DROP PROCEDURE IF EXISTS try_leases_together; {TOGETHER}"))
        .await?;
    let mut clients = vec![];
    for _ in 0..SESSIONS {
        clients.push(server.connect_patiently().await?.0);
    }
    for number in 0..starts.div_ceil(TRIES) {
        let kind = if number % 2 == 0 { "ended" } else { "new" };
        // Its names have not been used before.
        let series = format!("{kind} {}", now());
        if kind == "ended" {
            let take = format!(
                "SELECT advisory_leases.try_lease_key(ARRAY['start', '{series}', i::text], '1 us') \
                 FROM generate_series(1, {TRIES}) AS i"
            );
            admin.batch_execute(&take).await?;
        }
        let first: String =
            admin.query_one("SELECT (clock_timestamp() + '5ms')::text", &[]).await?.get(0);
        let call =
            format!("CALL try_leases_together('{series}', {TRIES}, '{first}', '1500us', NULL)");
        let tries = clients.iter().map(async |client| {
            anyhow::Ok(client.query_one(&call, &[]).await?.get::<_, Vec<bool>>(0))
        });
        let granted = try_join_all(tries).await?;
        for start in 0..TRIES {
            let got = granted.iter().filter(|granted| granted[start]).count();
            report.expect(got <= 1, "overlapping leases", || {
                format!("{got} of {SESSIONS} sessions that wanted a name at once ({kind})")
            });
            report.expect(got >= 1, "leases refused without reason", || {
                format!("none of {SESSIONS} sessions that wanted a name at once got it ({kind})")
            });
        }
        report.count(&format!("leases: starts at once for a name that is {kind}"), TRIES as u64);
    }
    Ok(())
}

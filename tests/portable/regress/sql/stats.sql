-- The portable edition has no statistics.
SELECT to_regclass('advisory_lock_stats'), to_regproc('advisory_lock_stats_reset'), to_regproc('advisory_lock_stats_evictions');

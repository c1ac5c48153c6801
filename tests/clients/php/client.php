<?php
// PHP with PDO. PDO has no arrays; an array parameter is its text form, in which quotes and backslashes are escaped.

function own_key(array $parts): int
{
    return unpack('q', strrev(substr(hash('sha256', implode('-', $parts), true), 0, 8)))[1];
}

function array_literal(array $parts): string
{
    $literal = fn ($part) => is_array($part) ? array_literal($part) : '"' . addcslashes($part, '"\\') . '"';
    return '{' . implode(',', array_map($literal, $parts)) . '}';
}

// Prepared by the server, with parameters but not prepared, and with the values written into the statement.
const WAYS = [[], [PDO::PGSQL_ATTR_DISABLE_PREPARES => true], [PDO::ATTR_EMULATE_PREPARES => true]];

$pdo = new PDO('pgsql:', options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);

$run = function (string $statement, ...$parameters) use ($pdo) {
    $pdo->inTransaction() || $pdo->beginTransaction();
    $prepared = $pdo->prepare($statement);
    $prepared->execute($parameters);
    return $prepared;
};
$attempt = fn (string $statement, ...$parameters) => $run($statement, ...$parameters)->fetchColumn() ? 'true' : 'false';

while (($line = fgets(STDIN)) !== false) {
    $words = explode(' ', trim($line));
    $command = array_shift($words);
    $number = in_array($command, ['wait', 'slot', 'claim']) ? (int) array_shift($words) : null;
    $parts = array_map(fn ($word) => $word === '-' ? '' : hex2bin($word), $words);
    echo match ($command) {
        'driver' => 'PDO_PGSQL ' . PHP_VERSION,
        'key' => implode(' ', [own_key($parts), ...array_map(function ($way) use ($pdo, $parts) {
            $statement = $pdo->prepare('SELECT advisory_key(?)', $way);
            $statement->execute([array_literal($parts)]);
            return $statement->fetchColumn();
        }, WAYS)]),
        'try' => $attempt('SELECT try_lock_keys(?)', array_literal($parts)),
        'integer' => $attempt('SELECT pg_try_advisory_xact_lock(?)', own_key($parts)),
        'wait' => $attempt('SELECT try_lock_keys(?, timeout => ?)', array_literal($parts), "{$number}ms"),
        'slot' => $attempt('SELECT try_lock_slot(?, ?)', array_literal($parts), $number),
        // The row numbers come as text, too.
        'claim' => $run('SELECT claim_keys(?, wanted => ?)', array_literal(array_map(fn ($part) => [$part], $parts)), $number)
            ->fetchColumn(),
        'acquire' => $run('CALL acquire_keys(?)', array_literal($parts)) ? 'ok' : 'failed',
        'fail' => (function () use ($pdo, $attempt, $parts) {
            try {
                return $attempt("SELECT lock_keys(?, timeout => '0')", array_literal($parts));
            } catch (PDOException $error) {
                $pdo->rollBack();
                return $error->getCode();
            }
        })(),
        'commit' => $pdo->commit() ? 'ok' : 'failed',
    } . "\n";
}

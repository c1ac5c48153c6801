# Perl with DBD::Pg, which sends a reference to an array as an array.
use v5.30;
use warnings;
use DBI;
use Digest::SHA qw(sha256);
use Encode qw(decode_utf8 encode_utf8);

sub own_key { unpack 'q>', sha256(encode_utf8(join '-', @_)) }

my $db = DBI->connect('dbi:Pg:', undef, undef, { RaiseError => 1, PrintError => 0, AutoCommit => 1, pg_enable_utf8 => 1 });

sub begin { $db->begin_work if $db->{AutoCommit} }

sub one {
    my ($statement, @parameters) = @_;
    begin;
    my ($value) = $db->selectrow_array($statement, undef, @parameters);
    return $value;
}

sub attempt { one(@_) ? 'true' : 'false' }

# Both forms that DBD::Pg knows: prepared by the server, and not.
my @ask_key = map { $db->prepare('SELECT advisory_key(?)', { pg_server_prepare => $_, pg_switch_prepared => 1 }) } 1, 0;

my %answer = (
    driver  => sub { "DBD::Pg $DBD::Pg::VERSION" },
    key     => sub { join ' ', own_key(@_), map { $db->selectrow_array($_, undef, [@_]) } @ask_key },
    try     => sub { attempt('SELECT try_lock_keys(?)', [@_]) },
    integer => sub { attempt('SELECT pg_try_advisory_xact_lock(?)', own_key(@_)) },
    wait    => sub { my $milliseconds = shift; attempt('SELECT try_lock_keys(?, timeout => ?)', [@_], "${milliseconds}ms") },
    slot    => sub { my $slots = shift; attempt('SELECT try_lock_slot(?, ?)', [@_], $slots) },
    claim   => sub {
        my $wanted = shift;
        my $rows = one('SELECT claim_keys(?, wanted => ?)', [map { [$_] } @_], $wanted);
        return '{' . join(',', @$rows) . '}';
    },
    acquire => sub { begin; $db->do('CALL acquire_keys(?)', undef, [@_]); 'ok' },
    fail    => sub {
        return 'locked' if eval { attempt(q{SELECT lock_keys(?, timeout => '0')}, [@_]) };
        my $state = $db->state;
        $db->rollback;
        return $state;
    },
    commit => sub { $db->commit; 'ok' },
);

$| = 1;
while (<STDIN>) {
    my ($command, @words) = split;
    my @number = $command =~ /^(wait|slot|claim)$/ ? shift @words : ();
    my @parts = map { $_ eq '-' ? '' : decode_utf8(pack 'H*', $_) } @words;
    say $answer{$command}->(@number, @parts);
}

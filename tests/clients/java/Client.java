// Java with JDBC.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.Array;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Set;
import java.util.stream.Collectors;
import org.postgresql.PGStatement;

public class Client {
    /** The commands with a number before the parts. */
    private static final Set<String> NUMBERED = Set.of("wait", "slot", "claim");

    private final Connection connection;

    Client(Connection connection) {
        this.connection = connection;
    }

    static long ownKey(String[] parts) throws Exception {
        byte[] name = String.join("-", parts).getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.wrap(MessageDigest.getInstance("SHA-256").digest(name)).getLong();
    }

    /** The first column of the only row; the connection is in a transaction from its first statement on. */
    private Object one(String query, Object... arguments) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(query)) {
            for (int i = 0; i < arguments.length; i++) {
                if (arguments[i] instanceof Object[] array) {
                    statement.setArray(i + 1, connection.createArrayOf("text", array));
                } else {
                    statement.setObject(i + 1, arguments[i]);
                }
            }
            try (ResultSet result = statement.executeQuery()) {
                result.next();
                return result.getObject(1);
            }
        }
    }

    /** The threshold says from which use on the server prepares the statement; 0 is never. */
    private long key(int prepareThreshold, Object array, int type) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT advisory_key(?)")) {
            statement.unwrap(PGStatement.class).setPrepareThreshold(prepareThreshold);
            statement.setObject(1, array, type);
            try (ResultSet result = statement.executeQuery()) {
                result.next();
                return result.getLong(1);
            }
        }
    }

    private Object answer(String command, String[] words) throws Exception {
        int first = NUMBERED.contains(command) ? 1 : 0;
        String[] parts = Arrays.stream(words).skip(first)
            .map(word -> word.equals("-") ? "" : new String(HexFormat.of().parseHex(word), StandardCharsets.UTF_8))
            .toArray(String[]::new);
        switch (command) {
            case "driver":
                return "pgjdbc " + connection.getMetaData().getDriverVersion();
            case "key":
                // As an array (which the driver sends in binary form), not prepared and prepared; as text without a type.
                Array array = connection.createArrayOf("text", parts);
                String keys = ownKey(parts) + " " + key(0, array, Types.ARRAY) + " " + key(1, array, Types.ARRAY)
                    + " " + key(0, array.toString(), Types.OTHER);
                connection.rollback();
                return keys;
            case "try":
                return one("SELECT try_lock_keys(?)", (Object) parts);
            case "integer":
                return one("SELECT pg_try_advisory_xact_lock(?)", ownKey(parts));
            case "wait":
                return one("SELECT try_lock_keys(?, timeout => ?::interval)", parts, words[0] + "ms");
            case "slot":
                return one("SELECT try_lock_slot(?, ?)", parts, Integer.valueOf(words[0]));
            case "claim":
                String[][] names = Arrays.stream(parts).map(part -> new String[] {part}).toArray(String[][]::new);
                Array rows = (Array) one("SELECT claim_keys(?, wanted => ?)", names, Integer.valueOf(words[0]));
                return Arrays.stream((Integer[]) rows.getArray())
                    .map(String::valueOf).collect(Collectors.joining(",", "{", "}"));
            case "acquire":
                try (CallableStatement call = connection.prepareCall("CALL acquire_keys(?)")) {
                    call.setArray(1, connection.createArrayOf("text", parts));
                    call.execute();
                }
                return "ok";
            case "fail":
                try {
                    return one("SELECT lock_keys(?, timeout => '0')", (Object) parts);
                } catch (SQLException error) {
                    connection.rollback();
                    return error.getSQLState();
                }
            case "commit":
                connection.commit();
                return "ok";
            default:
                throw new IllegalArgumentException(command);
        }
    }

    public static void main(String[] arguments) throws Exception {
        // JDBC knows no Unix sockets: PGHOSTADDR is where the server listens.
        String url = "jdbc:postgresql://%s:%s/%s".formatted(
            System.getenv("PGHOSTADDR"), System.getenv("PGPORT"), System.getenv("PGDATABASE"));
        Connection connection = DriverManager.getConnection(url, System.getenv("PGUSER"),
            System.getenv().getOrDefault("PGPASSWORD", ""));
        connection.setAutoCommit(false);
        Client client = new Client(connection);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ");
            System.out.println(client.answer(words[0], Arrays.copyOfRange(words, 1, words.length)));
        }
    }
}

/* C with libpq. An array parameter is sent in its text form, with quotes and backslashes escaped; or in binary form. */

#include <arpa/inet.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PARTS 1024

static PGconn *connection;

static char *
join(char **parts, int count)
{
	size_t		size = 1;
	char	   *name;

	for (int i = 0; i < count; i++)
		size += strlen(parts[i]) + 1;
	name = calloc(size, 1);
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			strcat(name, "-");
		strcat(name, parts[i]);
	}
	return name;
}

static int64_t
own_key(char **parts, int count)
{
	char	   *name = join(parts, count);
	unsigned char digest[SHA256_DIGEST_LENGTH];
	uint64_t	key = 0;

	SHA256((unsigned char *) name, strlen(name), digest);
	free(name);
	for (int i = 0; i < 8; i++)
		key = key << 8 | digest[i];
	return (int64_t) key;
}

/* One name; or, if nested, as many as there are parts. */
static char *
array_literal(char **parts, int count, bool nested)
{
	size_t		size = 3;
	char	   *literal,
			   *to;

	for (int i = 0; i < count; i++)
		size += 2 * strlen(parts[i]) + 5;
	to = literal = malloc(size);
	*to++ = '{';
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			*to++ = ',';
		if (nested)
			*to++ = '{';
		*to++ = '"';
		for (const char *from = parts[i]; *from; from++)
		{
			if (*from == '"' || *from == '\\')
				*to++ = '\\';
			*to++ = *from;
		}
		*to++ = '"';
		if (nested)
			*to++ = '}';
	}
	strcpy(to, "}");
	return literal;
}

static char *
put_int(char *to, uint32_t value)
{
	value = htonl(value);
	memcpy(to, &value, 4);
	return to + 4;
}

/* The form of array_send(): dimensions, NULLs, type of the elements, size, lower bound; each element with its length. */
static char *
binary_array(char **parts, int count, int *length)
{
	size_t		size = 20;
	char	   *array,
			   *to;

	for (int i = 0; i < count; i++)
		size += 4 + strlen(parts[i]);
	to = array = malloc(size);
	to = put_int(to, 1);
	to = put_int(to, 0);
	to = put_int(to, 25);		/* text */
	to = put_int(to, count);
	to = put_int(to, 1);
	for (int i = 0; i < count; i++)
	{
		to = put_int(to, strlen(parts[i]));
		memcpy(to, parts[i], strlen(parts[i]));
		to += strlen(parts[i]);
	}
	*length = size;
	return array;
}

static void
run(const char *statement)
{
	PGresult   *result = PQexec(connection, statement);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(connection));
		exit(1);
	}
	PQclear(result);
}

/* Prints the first column of the only row, "ok" without rows, or the SQLSTATE of an error after a rollback. */
static void
print_result(PGresult *result)
{
	if (PQresultStatus(result) == PGRES_COMMAND_OK)
		printf("ok");
	else if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		printf("%s", PQresultErrorField(result, PG_DIAG_SQLSTATE));
		run("ROLLBACK");
	}
	else
	{
		const char *value = PQgetvalue(result, 0, 0);

		printf("%s", strcmp(value, "t") == 0 ? "true" : strcmp(value, "f") == 0 ? "false" : value);
	}
	PQclear(result);
}

static void
print_one(const char *statement, int count, const char *const *parameters)
{
	print_result(PQexecParams(connection, statement, count, NULL, parameters, NULL, NULL, 0));
}

/* advisory_key of an array in text and in binary form, each with a statement that is prepared and one that is not. */
static void
print_keys(char **parts, int count, const char *text)
{
	int			length;
	char	   *binary = binary_array(parts, count, &length);

	for (int format = 0; format <= 1; format++)
	{
		const char *value = format ? binary : text;

		printf(" ");
		print_result(PQexecParams(connection, "SELECT advisory_key($1)", 1, NULL, &value, &length, &format, 0));
		printf(" ");
		print_result(PQexecPrepared(connection, "key", 1, &value, &length, &format, 0));
	}
	free(binary);
}

static int
from_digit(char digit)
{
	return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

static char *
from_hex(char *word)
{
	size_t		length = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
	char	   *part = malloc(length + 1);

	for (size_t i = 0; i < length; i++)
		part[i] = from_digit(word[2 * i]) << 4 | from_digit(word[2 * i + 1]);
	part[length] = '\0';
	return part;
}

static void
answer(const char *command, char **words, int count)
{
	bool		wait = strcmp(command, "wait") == 0,
				slot = strcmp(command, "slot") == 0,
				claim = strcmp(command, "claim") == 0,
				numbered = wait || slot || claim;
	char		timeout[40] = "",
				key[40];
	char	   *parts[MAX_PARTS];
	const char *parameters[2];
	int			n = 0;

	if (wait)
		snprintf(timeout, sizeof(timeout), "%sms", words[0]);
	for (int i = numbered ? 1 : 0; i < count; i++)
		parts[n++] = from_hex(words[i]);
	parameters[0] = array_literal(parts, n, claim);
	parameters[1] = wait ? timeout : numbered ? words[0] : NULL;
	snprintf(key, sizeof(key), "%" PRId64, own_key(parts, n));

	if (strcmp(command, "driver") == 0)
		printf("libpq %d.%d", PQlibVersion() / 10000, PQlibVersion() % 10000);
	else if (strcmp(command, "commit") == 0)
	{
		run("COMMIT");
		printf("ok");
	}
	else if (strcmp(command, "key") == 0)
	{
		printf("%s", key);
		print_keys(parts, n, parameters[0]);
	}
	else
	{
		if (PQtransactionStatus(connection) == PQTRANS_IDLE)
			run("BEGIN");
		if (strcmp(command, "try") == 0)
			print_one("SELECT try_lock_keys($1)", 1, parameters);
		else if (wait)
			print_one("SELECT try_lock_keys($1, timeout => $2)", 2, parameters);
		else if (slot)
			print_one("SELECT try_lock_slot($1, $2)", 2, parameters);
		else if (claim)
			print_one("SELECT claim_keys($1, wanted => $2)", 2, parameters);
		else if (strcmp(command, "acquire") == 0)
			print_one("CALL acquire_keys($1)", 1, parameters);
		else if (strcmp(command, "fail") == 0)
			print_one("SELECT lock_keys($1, timeout => '0')", 1, parameters);
		else
		{
			parameters[0] = key;
			print_one("SELECT pg_try_advisory_xact_lock($1)", 1, parameters);
		}
	}
	printf("\n");
	fflush(stdout);
}

int
main(void)
{
	static char line[1 << 23];

	connection = PQconnectdb("");
	if (PQstatus(connection) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(connection));
		return 1;
	}
	PQclear(PQprepare(connection, "key", "SELECT advisory_key($1)", 1, NULL));
	while (fgets(line, sizeof(line), stdin))
	{
		char	   *words[MAX_PARTS];
		int			count = 0;

		for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
			words[count++] = word;
		if (count > 0)
			answer(words[0], words + 1, count - 1);
	}
	PQfinish(connection);
	return 0;
}

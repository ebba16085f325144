import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/**
 * The part of recipe_hikari.py that runs in Java: pools as
 * examples/hikari.properties, its argument, makes them.
 *
 * CROSSES and FALLS come from the environment, LOG is the file with what
 * HikariCP logs.
 */
public class RecipeHikari
{
	private static final String CROSSES = System.getenv("CROSSES");
	private static final String FALLS = System.getenv("FALLS");
	private static final String SOCKET =
		System.getenv("PGHOST") + "/.s.PGSQL." + System.getenv("PGPORT");

	private static boolean failed;
	private static long pools;
	private static String properties;

	private static void ok(String name, boolean value, String why)
	{
		System.out.println(value ? "ok " + name : "not ok " + name + ": " + why);
		failed |= !value;
	}

	private static void equal(String name, Object got, Object expected)
	{
		ok(name, got.equals(expected), "got " + got + ", expected " + expected);
	}

	private static String url(String database, String parameters)
	{
		return "jdbc:postgresql:" + database + "?socketFactory=UnixSocketFactory"
			+ "&socketFactoryArg=" + SOCKET + parameters;
	}

	private static HikariConfig config(String database, String parameters)
	{
		HikariConfig config = new HikariConfig(properties);

		config.setJdbcUrl(url(database, parameters));
		config.setUsername("pooled");
		config.setMaximumPoolSize(1);
		return config;
	}

	/** What a query of a superuser returns. */
	private static String ask(String query) throws SQLException
	{
		try (Connection connection =
			DriverManager.getConnection(url("postgres", ""), "postgres", ""))
		{
			return value(connection, query);
		}
	}

	private static String value(Connection connection, String query) throws SQLException
	{
		try (Statement statement = connection.createStatement();
			ResultSet result = statement.executeQuery(query))
		{
			return result.next() ? result.getString(1) : "";
		}
	}

	private static boolean isGone(String pid) throws Exception
	{
		for (int i = 0; i < 1200; i++)
		{
			if (ask("SELECT 1 FROM pg_stat_activity WHERE pid = " + pid).isEmpty())
				return true;
			Thread.sleep(50);
		}
		return false;
	}

	/** Runs statements in a connection of the pool; which session that was. */
	private static String work(HikariDataSource pool, String... statements)
		throws SQLException
	{
		try (Connection connection = pool.getConnection();
			Statement statement = connection.createStatement())
		{
			for (String sql : statements)
				statement.execute(sql);
			if (!connection.getAutoCommit())
				connection.commit();
			return value(connection, "SELECT pg_backend_pid()");
		}
	}

	private static void pool(String name, HikariConfig config, String... more)
		throws Exception
	{
		pools++;
		try (HikariDataSource pool = new HikariDataSource(config))
		{
			String first = work(pool);
			String second;

			equal(name + ": a healthy connection is kept", work(pool), first);
			work(pool, CROSSES, FALLS);
			equal(name + ": one that has been bloated is kept", work(pool), first);
			equal(name + ": a connection that bloats does its work",
				work(pool, CROSSES), first);
			second = work(pool, more);
			ok(name + ": and is closed, not handed out",
				!second.equals(first) && isGone(first), first);
			equal(name + ": its successor is kept", work(pool), second);
		}
	}

	/** The pool does not even start, and says what is missing. */
	private static void refused(String name, HikariConfig config)
	{
		String message = "it started";

		try (HikariDataSource pool = new HikariDataSource(config))
		{
		}
		catch (RuntimeException failure)
		{
			message = failure.getMessage();
		}
		ok(name, message.contains("function pg_session_memory_check() does not exist"),
			message);
	}

	public static void main(String[] arguments) throws Exception
	{
		String name = arguments[1];
		HikariConfig config;

		properties = arguments[0];
		pool(name, config("postgres", ""));
		config = config("postgres", "");
		config.setAutoCommit(false);
		pool(name + ", not in autocommit", config);

		refused(name + ", no extension in the database", config("without_extension", ""));
		refused(name + ", the extension in another schema", config("other_schema", ""));
		refused(name + ", odd search_path", config("postgres", "&currentSchema=odd"));
		pool(name + ", its schema in search_path",
			config("other_schema", "&currentSchema=public,memory"));
		config = config("other_schema", "&currentSchema=odd");
		config.setConnectionTestQuery("SELECT memory.pg_session_memory_check()");
		pool(name + ", its schema named", config, "SET search_path = ''", "RESET ALL");

		equal(name + ": the log says of each why it was closed",
			Files.lines(Path.of(System.getenv("LOG"))).filter(line ->
				line.contains("Failed to validate connection")
				&& line.contains("ERROR: session memory over threshold")).count(), pools);
		System.exit(failed ? 1 : 0);
	}
}

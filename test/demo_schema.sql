-- What a shop has after some years: three tables, a partition for each day,
-- an index on each partition.

CREATE EXTENSION pg_session_memory;

CREATE TABLE orders (day date, id bigint, amount numeric, PRIMARY KEY (day, id))
    PARTITION BY RANGE (day);
CREATE TABLE payments (day date, id bigint, amount numeric, PRIMARY KEY (day, id))
    PARTITION BY RANGE (day);
CREATE TABLE visits (day date, id bigint, page text, PRIMARY KEY (day, id))
    PARTITION BY RANGE (day);

DO $$
DECLARE
    parent text;
    first_day date;
BEGIN
    FOREACH parent IN ARRAY ARRAY['orders', 'payments', 'visits'] LOOP
        FOR i IN 0 .. 999 LOOP
            first_day := date '2024-01-01' + i;
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                parent || '_' || to_char(first_day, 'YYYYMMDD'), parent,
                first_day, first_day + 1);
            -- Each of them keeps its locks until the end of its transaction.
            IF i % 100 = 99 THEN
                COMMIT;
            END IF;
        END LOOP;
    END LOOP;
END
$$;

CREATE FUNCTION revenue(of_day date) RETURNS numeric LANGUAGE plpgsql STABLE AS
$$
DECLARE
    total numeric;
BEGIN
    SELECT sum(o.amount) - coalesce(sum(p.amount), 0) INTO total
    FROM orders o LEFT JOIN payments p USING (day, id)
    WHERE o.day = of_day;
    RETURN coalesce(total, 0);
END
$$;

-- The application's own functions: each session compiles those that it calls.
DO $$
BEGIN
    FOR i IN 1 .. 60 LOOP
        EXECUTE format(
            'CREATE FUNCTION report_%s(of_day date) RETURNS numeric
             LANGUAGE plpgsql STABLE AS
             $f$
             DECLARE
                 total numeric;
             BEGIN
                 SELECT sum(amount) + %s INTO total FROM orders WHERE day = of_day;
                 IF total IS NULL THEN
                     RETURN revenue(of_day);
                 END IF;
                 RETURN total;
             END
             $f$', i, i);
    END LOOP;
END
$$;

-- Beside the tables of demo_schema.sql: what the other causes need.

CREATE EXTENSION dblink;

CREATE TABLE customer (id bigint PRIMARY KEY, shop int, name text, discount numeric);
INSERT INTO customer SELECT n, n % 10, md5(n::text), 0 FROM generate_series(1, 1000) n;

CREATE TABLE invoice (
    id bigint PRIMARY KEY,
    customer bigint REFERENCES customer DEFERRABLE INITIALLY DEFERRED);

-- An application that keeps its logic in functions, and a function that calls
-- them all.
DO $$
BEGIN
    FOR i IN 1 .. 300 LOOP
        EXECUTE format(
            'CREATE FUNCTION rule_%s(of_customer bigint) RETURNS numeric
             LANGUAGE plpgsql STABLE AS
             $f$
             DECLARE
                 rate numeric;
                 invoices bigint;
             BEGIN
                 SELECT discount INTO rate FROM customer WHERE id = of_customer;
                 SELECT count(*) INTO invoices FROM invoice WHERE customer = of_customer;
                 IF invoices > %s THEN
                     RETURN rate * 2;
                 END IF;
                 RETURN rate;
             END
             $f$', i, i);
    END LOOP;
    EXECUTE (
        SELECT 'CREATE FUNCTION all_rules(of_customer bigint) RETURNS numeric
                LANGUAGE plpgsql STABLE AS $f$ BEGIN RETURN '
            || string_agg(format('rule_%s(of_customer)', i), ' + ' ORDER BY i)
            || '; END $f$'
        FROM generate_series(1, 300) i);
END
$$;

-- The planner should know the few rows that there are.
ANALYZE;

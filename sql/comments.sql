--
-- Everything that the extension has says what it is: \dv+, \df+ and \d+ show it
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

CREATE VIEW regress_members AS
SELECT d.classid, d.objid
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE e.extname = 'pg_session_memory' AND d.deptype = 'e'
	AND d.refclassid = 'pg_extension'::regclass;

-- The views that are looked at below
SELECT c.relname, c.relnatts > 5 AS has_columns
FROM regress_members m JOIN pg_class c
	ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
ORDER BY c.relname COLLATE "C";

-- Views and functions without a comment
SELECT pg_describe_object(classid, objid, 0) COLLATE "C" AS without
FROM regress_members
WHERE classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
	AND coalesce(obj_description(objid, classid::regclass::name), '') = ''
ORDER BY 1;

-- Columns of views without a comment
SELECT a.attrelid::regclass AS view, a.attname AS without
FROM regress_members m JOIN pg_attribute a
	ON m.classid = 'pg_class'::regclass AND a.attrelid = m.objid
WHERE a.attnum > 0 AND NOT a.attisdropped
	AND coalesce(col_description(a.attrelid, a.attnum), '') = ''
ORDER BY a.attrelid::regclass::text COLLATE "C", a.attnum;

DROP VIEW regress_members;

-- Divides the tables history, blocks and undo of a groat ledger into hash partitions.
--
--     psql -v ON_ERROR_STOP=1 -d groat -f partition.sql
--
-- For ledgers of 100 million rows of history and more; docs/operations/postgresql.md says what it is
-- good for, how long it takes and how much space it needs. Stop the node and all readers first, those on standbys too:
-- one that began to read before would find the new tables empty. Run it as the tables' owner.
--
-- 16 partitions each, or as many as `SET groat.partitions = 64;` said before in the same session. A table
-- at a time is copied, and committed: stopped at any point, it goes on with the next table when it is run
-- again, and leaves tables alone that are divided already. Never inside a transaction (psql -1).
--
-- What else is large cannot be divided like this: a unique key of a partitioned table must hold the
-- partition key, and `transactions` has two, its number and its txid.

DO $$
DECLARE
    parts CONSTANT integer := coalesce(nullif(current_setting('groat.partitions', true), ''), '16');
    divided record;
    granted record;
    owner name;
BEGIN
    IF parts NOT BETWEEN 2 AND 1024 THEN
        RAISE EXCEPTION 'groat.partitions must be from 2 to 1024, not %', parts;
    END IF;
    IF NOT pg_try_advisory_lock(444301533556) THEN
        RAISE EXCEPTION 'a groat node uses this database: stop it first';
    END IF;
    FOR divided IN
        SELECT * FROM (VALUES ('history', 'script', 'script, number, slot', false),
                              ('blocks', 'id', 'id', true),
                              ('undo', 'id', 'id', true)) AS t (name, key, unique_key, has_header)
    LOOP
        CONTINUE WHEN (SELECT relkind FROM pg_class WHERE oid = divided.name::regclass) = 'p';
        IF EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                   AND application_name LIKE 'groat%' AND pid <> pg_backend_pid()) THEN
            RAISE EXCEPTION 'groat''s readers use this database: stop them first';
        END IF;
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', divided.name);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING STORAGE)'
                       ' PARTITION BY HASH (%I)',
                       divided.name || '_new', divided.name, divided.key);
        FOR part IN 0 .. parts - 1 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                           divided.name || '_' || part, divided.name || '_new', parts, part);
        END LOOP;
        EXECUTE format('INSERT INTO %I SELECT * FROM %I', divided.name || '_new', divided.name);
        -- Rights first: the old table still has them.
        FOR granted IN
            SELECT g.grantee, g.privilege_type FROM pg_class c, aclexplode(c.relacl) g
            WHERE c.oid = divided.name::regclass AND g.grantee <> c.relowner
        LOOP
            EXECUTE format('GRANT %s ON %I TO %s', granted.privilege_type, divided.name || '_new',
                           CASE granted.grantee WHEN 0 THEN 'PUBLIC'
                           ELSE granted.grantee::regrole::text END);
        END LOOP;
        SELECT r.rolname INTO owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
            WHERE c.oid = divided.name::regclass;
        EXECUTE format('DROP TABLE %I', divided.name);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', divided.name || '_new', divided.name);
        -- The key of what is there is sorted once, which is faster than row by row.
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY (%s)',
                       divided.name, divided.name || '_pkey', divided.unique_key);
        IF divided.has_header THEN
            EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I FOREIGN KEY (id) REFERENCES headers (id)',
                           divided.name, divided.name || '_id_fkey');
        END IF;
        EXECUTE format('ALTER TABLE %I OWNER TO %I', divided.name, owner);
        FOR part IN 0 .. parts - 1 LOOP
            EXECUTE format('ALTER TABLE %I OWNER TO %I', divided.name || '_' || part, owner);
        END LOOP;
        COMMIT;
        EXECUTE format('ANALYZE %I', divided.name);
        COMMIT;
        RAISE NOTICE '%: % partitions', divided.name, parts;
    END LOOP;
    PERFORM pg_advisory_unlock(444301533556);
END
$$;

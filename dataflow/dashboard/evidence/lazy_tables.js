
/* dataflow: tables are opened by the first query that names them */
const closedTables = new Map();

class ClosedTable {
	constructor(source, table, open) {
		const named = (text) => `"?${text}"?(?![A-Za-z0-9_])`;
		this.table = table;
		this.full = new RegExp(`(?<![A-Za-z0-9_])${named(source)}\\s*\\.\\s*${named(table)}`, 'i');
		this.bare = new RegExp(`(?:\\bfrom|\\bjoin|,|\\()\\s*${named(table)}(?!\\s*[.(])`, 'i');
		this.open = () =>
			(this.opening ??= open().catch((error) => {
				this.opening = null;
				throw error;
			}));
	}
}

/* What asks about tables themselves needs all of them. */
const ABOUT_TABLES = /information_schema|duckdb_\w+\s*\(|^\s*(?:show|pragma)\b/i;

async function openTables(sql) {
	const all = ABOUT_TABLES.test(sql);
	const guessed = new Set();
	for (const closed of [...closedTables.values()]) {
		if (all || closed.full.test(sql)) {
			await closed.open();
		} else if (!guessed.has(closed.table) && closed.bare.test(sql)) {
			/* Without a source the first table of that name is meant, or it is a column's name. */
			guessed.add(closed.table);
			await closed.open().catch(() => {});
		}
	}
}

// Figures and times as people read them.

/** The sign before a status. */
export const SIGN: Record<string, string> = {
  succeeded: '✓', skipped: '✓', failed: '✗', killed: '✗', cancelled: '■', running: '▶',
  retrying: '↻', waiting: '…', pending: '…', 'awaiting review': '?', rejected: '✗'
};

export function seconds(value: number | null): string {
  if (value === null) {
    return '';
  }
  if (value < 60) {
    return `${value.toFixed(1)} s`;
  }
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export function ago(time: string | null): string {
  if (!time) {
    return '';
  }
  const past = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  const units: [number, number, Intl.RelativeTimeFormatUnit][] = [
    [90, 1, 'second'], [5400, 60, 'minute'], [129600, 3600, 'hour'], [Infinity, 86400, 'day']
  ];
  const [, size, unit] = units.find(([most]) => past < most)!;
  return new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(-Math.round(past / size), unit);
}

/** Rows by table: `events 1,707`; the sum where there are several tables. */
export function rows(byTable: Record<string, number>): string {
  const entries = Object.entries(byTable);
  if (entries.length === 0) {
    return '';
  }
  const sum = entries.reduce((total, [, count]) => total + count, 0);
  return `${sum.toLocaleString('en')} ${sum === 1 ? 'row' : 'rows'}`;
}

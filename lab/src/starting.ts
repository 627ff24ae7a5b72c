// A run's id, and the process that waits for it while the form is open.
import * as React from 'react';
import type { Session } from './session';

const KEPT = 60_000; // milliseconds that a process waits for a form that was closed

/** The id of a run, made here: a form that is sent twice starts one run. */
export function newRun(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

const MINE = 'dataflow:run'; // of this tab, also after a reload

/** Remember that this tab started a run. */
export function rememberRun(run: string): void {
  sessionStorage.setItem(MINE, run);
}

/** Whether this tab started a run, the last one. */
export function isMine(run: string): boolean {
  return sessionStorage.getItem(MINE) === run;
}

/** This page's form, by which the server knows whether somebody still needs the process that waits. */
const FORM = newRun();
let dismissing = 0;

/** Have a process ready while a form is open: a run then begins at once. */
export function usePrepared(session: Session): void {
  React.useEffect(() => {
    window.clearTimeout(dismissing);
    prepare(session);
    return () => {
      dismissing = window.setTimeout(() => void session.api.delete(`running/prepare?form=${FORM}`).catch(() => undefined), KEPT);
    };
  }, []);
}

export function prepare(session: Session): void {
  // Without it a run begins some seconds later.
  session.api.post('running/prepare', { form: FORM }).catch(() => undefined);
}

// Run as a stage: a form from the notebook's parameters, checked by the server while one types.
import { runIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import { IField, IPlan, IProblem } from './api';
import { Failed, useChecked, Words } from './forms';
import { usePrepared } from './starting';
import { Scope, Session } from './session';

function shown(value: unknown): string {
  return typeof value === 'string' ? value : value === null ? 'None' : JSON.stringify(value);
}

function Input(props: { field: IField; id: string; value: string; about: string; wrong: boolean; onChange: (text: string) => void }): JSX.Element {
  const { field, id, value, about, wrong, onChange } = props;
  const common = {
    id,
    value,
    className: 'jp-mod-styled',
    'aria-describedby': about,
    'aria-invalid': wrong || undefined,
    onChange: (event: React.ChangeEvent<HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>) =>
      onChange(event.currentTarget.value)
  };
  const otherwise = field.required ? '' : shown(field.otherwise);
  if (field.widget === 'choice') {
    return (
      <select {...common}>
        <option value="">{field.required ? 'choose…' : otherwise}</option>
        {field.choices.map(choice => <option key={choice}>{choice}</option>)}
        {field.nullable && field.otherwise !== null && <option value="null">None</option>}
      </select>
    );
  }
  if (field.widget === 'yaml') {
    return <textarea {...common} rows={2} placeholder={otherwise} spellCheck={false} />;
  }
  const type = field.secret ? 'password' : field.widget === 'date' && value !== 'null' ? 'date' : 'text';
  const inputMode = field.widget === 'number' ? 'decimal' : undefined;
  return <input {...common} type={type} inputMode={inputMode} placeholder={otherwise} spellCheck={false} autoComplete="off" />;
}

function Field(props: { session: Session; field: IField; problems: IProblem[] }): JSX.Element {
  const { session, field, problems } = props;
  const { values } = session.form;
  const id = `df-field-${field.name}`;
  const value = values[field.name] ?? '';
  const set = (text: string) => session.setForm({ values: { ...values, [field.name]: text } });
  const origin = field.required ? 'has to be given' : field.secret ? `secret; by default from ${field.origin}` : `${shown(field.otherwise)} by default, from ${field.origin}`;
  return (
    <div className="df-Field">
      <label htmlFor={id}>
        {field.name} <code>{field.annotation}</code>
      </label>
      <div className="df-Row">
        <Input field={field} id={id} value={value} about={`${id}-about`} wrong={problems.length > 0} onChange={set} />
        {field.nullable && field.otherwise !== null && field.widget !== 'choice' && (
          <button type="button" className="df-Link" aria-pressed={value === 'null'} onClick={() => set(value === 'null' ? '' : 'null')}>
            None
          </button>
        )}
      </div>
      <small id={`${id}-about`}>
        {field.help && <>{field.help}<br /></>}
        <span className="df-Soft">{origin}</span>
      </small>
      {problems.map((problem, index) => (
        <small key={index} className="df-Error" role="alert">{problem.message}</small>
      ))}
    </div>
  );
}

function consequences(plan: IPlan): string {
  const steps = `Will do: ${plan.steps.join(', ')}.`;
  if (!plan.publishes) {
    return `${steps} Nothing is published.`;
  }
  const result = plan.review ? 'The result awaits review before readers see it.' : 'Readers see the result when all checks passed.';
  return `${steps} ${result}${plan.builds_pages ? ' The dashboard’s pages are built, which takes about a minute.' : ''}`;
}

export function Form(props: { session: Session }): JSX.Element {
  const { session } = props;
  const view = session.view!;
  usePrepared(session);
  const wanted = session.wanted();
  // The view is a new one after each save and run.
  const { answer: plan, error } = useChecked(() => session.api.plan(wanted), JSON.stringify(wanted), view);
  const problems = plan?.problems ?? [];
  const fields = new Set(view.fields.map(field => field.name));
  const others = problems.filter(problem => !fields.has(problem.parameter ?? ''));
  const scopes: [Scope, string][] = [
    ['only', `only ${view.stage}`],
    ['start', `${view.stage} and what follows`],
    ['all', 'the whole workflow'],
    ['changed', 'what changed since it last succeeded']
  ];
  return (
    <form
      className="df-Form"
      onSubmit={event => {
        event.preventDefault();
        void session.run();
      }}
    >
      {view.fields.map(field => (
        <Field key={field.name} session={session} field={field} problems={problems.filter(one => one.parameter === field.name)} />
      ))}
      {view.fields.length === 0 && <p className="df-Soft">The notebook has no parameters.</p>}
      <fieldset className="df-Scope">
        <legend>Run</legend>
        {scopes.map(([scope, text]) => (
          <label key={scope}>
            <input type="radio" name="df-scope" checked={session.form.scope === scope} onChange={() => session.setForm({ scope })} />{' '}
            {text}
          </label>
        ))}
      </fieldset>
      {others.map((problem, index) => (
        <p key={index} className="df-Error" role="alert">
          <Words problem={problem} />
        </p>
      ))}
      <Failed error={error} />
      <p className="df-Soft" aria-live="polite">
        {plan && problems.length === 0 && (plan.steps.length > 0 ? consequences(plan) : 'Nothing changed: nothing would run.')}
      </p>
      <button type="submit" className="jp-mod-styled jp-mod-accept" disabled={!plan || problems.length > 0 || plan.steps.length === 0 || session.starting}>
        <runIcon.react tag="span" /> Run
      </button>
    </form>
  );
}

// In a tab that previews a run, pages read its data, and say so.
(() => {
	let preview;
	try {
		preview = JSON.parse(sessionStorage.getItem('dataflow-preview'));
	} catch {
		return;
	}
	if (!preview) return;
	const usual = window.fetch;
	window.fetch = async (what, ...more) => {
		if (new URL(what.url ?? what, location.href).pathname !== '/data/manifest.json') return usual(what, ...more);
		const found = await usual(`${preview.data}/manifest.json`, ...more);
		if (found.ok) return found;
		leave();  // it was decided about
		return usual(what, ...more);
	};
	function leave() {
		sessionStorage.removeItem('dataflow-preview');
		location.reload();
	}
	addEventListener('DOMContentLoaded', () => {
		const bar = document.createElement('div');
		bar.id = 'dataflow-preview';
		bar.setAttribute('role', 'status');
		bar.style.cssText = 'position:fixed;inset:auto 0 0 0;z-index:1000;padding:.6rem 1rem;display:flex;flex-wrap:wrap;gap:.3rem 1rem;align-items:center;justify-content:center;font:14px/1.4 system-ui,sans-serif;background:#fef3c7;color:#78350f;border-top:2px solid #b45309';
		const run = document.createElement('a');
		run.href = preview.address;
		run.textContent = `run ${preview.run}`;
		run.style.cssText = 'color:inherit;text-decoration:underline';
		const button = document.createElement('button');
		button.textContent = 'Leave the preview';
		button.style.cssText = 'border:1px solid currentColor;border-radius:6px;padding:.1rem .6rem;cursor:pointer';
		button.onclick = leave;
		const text = document.createElement('span');
		text.append('Preview of ', run, ', which awaits review. Readers do not see this.');
		bar.append(text, button);
		document.body.append(bar);
	});
})();

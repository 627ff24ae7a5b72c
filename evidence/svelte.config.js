// A single-page build: pages read their data when they are opened, so new data needs no
// rebuild. Evidence merges this over its own SvelteKit configuration.
import adapter from '@sveltejs/adapter-static';

export default {
	kit: {
		adapter: adapter({ fallback: 'index.html', strict: false })
	}
};

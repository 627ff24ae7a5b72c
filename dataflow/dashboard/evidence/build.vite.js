// What pages are built by: Evidence's own configuration, with less work and less memory.
// The dashboards' error messages name a page by its text, so maps of components are not needed.
import config from './vite.config.js';

// Pages are rendered by browsers only, so the half of the build that is for a server, which
// SvelteKit cannot leave out, gets empty components: as they say nothing, it is small.
const EMPTY = `export default {
	render: () => ({ html: '', css: { code: '', map: null }, head: '' }),
	$$render: () => ''
};`;
// Evidence's forms for data sources, which are for its development server, would bring every
// reader all of some thousand logos (4.8 MB).
const LOGOS = "import * as simpleIcons from '@steeze-ui/simple-icons';";

const plugins = (await Promise.all(config.plugins)).flat(Infinity);
const svelte = plugins.find((plugin) => plugin.name === 'vite-plugin-svelte');
if (!svelte) throw new Error('build.vite.js was made for another version of Evidence');
const compile = svelte.transform;
svelte.transform = async function (code, id, options) {
	if (options?.ssr && /\.(svelte|md)$/.test(id)) {
		return { code: EMPTY, map: null, syntheticNamedExports: true };
	}
	const made = await compile.call(this, code.replace(LOGOS, 'const simpleIcons = {};'), id, options);
	return made && { ...made, map: null };
};

export default {
	...config,
	plugins,
	build: { ...config.build, reportCompressedSize: false }
};

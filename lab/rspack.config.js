// Modules are named, not numbered: the bundle does not depend on the folder that it is built in.
module.exports = { optimization: { moduleIds: 'named', chunkIds: 'named' } };

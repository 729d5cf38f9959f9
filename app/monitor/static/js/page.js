// What the server put into the page: the API's first answers, and what the viewer may do.

const data = JSON.parse(document.getElementById("page-data").textContent);

export const viewer = data.viewer;

/** Returns whether the viewer's key has a scope. */
export const can = (scope) => viewer.scopes.includes(scope);

/** Returns the answer with this name that came with the page, or undefined. */
export const firstAnswer = (name) => data.first[name];

// Starts the page.
export {};

// An excerpt in the search results is plain text, cut anywhere: equations would stand in it as raw TeX.
const whole = Search.htmlToText;
Search.htmlToText = (page, anchor) => whole(page.replace(/<(span|div) class="math[^>]*>.*?<\/\1>/gs, "…"), anchor);
// Pages opened as files may not read each other: results without excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

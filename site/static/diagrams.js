// Narrow enough for the letters to keep their size beside two sidebars.
mermaid.initialize({ flowchart: { nodeSpacing: 25, rankSpacing: 15, padding: 4, wrappingWidth: 90 } });
